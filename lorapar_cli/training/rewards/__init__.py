"""Rewards: plain functions from completions to numbers."""
