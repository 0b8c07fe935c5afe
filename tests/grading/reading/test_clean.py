"""What is not part of an answer: thoughts, control words, further questions."""

import pytest

from lorapar_cli.grading.reading.clean import clean, without_control_words, without_thoughts


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),
        ("a<think>b", "a"),
        ("<think>a</think>b<think>c</think>d", "bd"),
        ("[THINK]a[/THINK]b", "b"),
        ("<THINKING>a</THINKING>b", "b"),
        ("I think so", "I think so"),
    ],
)
def test_thoughts(text, kept):
    assert without_thoughts(text) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("7<|im_end|>", "7"),
        ("7</s><s>8", "7"),
        ("<|im_start|>assistant\n7<|im_end|>", "7"),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n7<|eot_id|>", "7"),
        ("7<end_of_turn>\n<start_of_turn>user\n8", "7"),
        ("a < b | c > d", "a < b | c > d"),
    ],
)
def test_control_words(text, kept):
    assert without_control_words(text) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("It is 7.\n\nQuestion: 8?", "It is 7.\n\n"),
        ("It is 7.\n**Problem 2:** 8?", "It is 7.\n"),
        ("Lima\nQ: Where?", "Lima\n"),
        ("Question: 8?\nAnswer: 7", "Question: 8?\nAnswer: 7"),
        ("I repeat the task first.\nProblem: add 3 and 4\n7", None),
        ("The question: is it 7?", None),
        ("3+4=<<3+4=7>>7", "3+4=7"),
        ("<reasoning>6</reasoning>\n7", "\n7"),
        ("<reasoning>6</reasoning>", "<reasoning>6</reasoning>"),
    ],
)
def test_further_questions_and_reasoning(text, kept):
    assert clean(text) == (text if kept is None else kept)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        # As a tokenizer leaves them that drops the marks of channels.
        ("analysisMaybe A. Or 4.assistantfinalB", "B"),
        ("analysis2+2 is 4.assistantcommentaryWait.assistantfinal#### 9", "#### 9"),
        ("analysisMaybe 4. The answer is", ""),
        ("final42", "42"),
        ("finalB", "B"),
        ("final\\boxed{3}", "\\boxed{3}"),
        # Words of an answer.
        ("final answer: 42", None),
        ("finally 42", None),
        ("analysis: it is 42", None),
        ("analysis shows 42", None),
    ],
)
def test_channels_without_their_marks(text, kept):
    assert clean(text) == (text if kept is None else kept)
