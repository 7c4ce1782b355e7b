"""What a refusal quotes breaks no line."""

from jleaks.errors import InputError


def test_what_is_quoted_of_a_file_is_one_line():
    said = str(InputError("a\nb\x1b[2Jc\u2028d\udc80 column é"))
    assert said == r"a\nb\x1b[2Jc\u2028d\udc80 column é"
    assert said.isprintable()
