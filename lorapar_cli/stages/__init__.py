"""One file and one public function a stage; stages never import one another."""
