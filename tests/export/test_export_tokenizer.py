"""The tokenizer: any alphabet, our ids, and every word back as it was."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")

from rungwise.data import words  # noqa: E402
from rungwise.data.words import END, Vocabulary  # noqa: E402
from rungwise.export import tokenizer  # noqa: E402

ODD = " .<>|'\"\\/&\t\r\x7f\x85\u00a0\u2028▁Ġ##é́क्षأ日🙂👩‍💻"
lines = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from(ODD), max_size=9),
    min_size=1,
)
some_words = lines.filter(lambda found: any(line.strip() and not {*"\r\n"} & {*line.strip()} for line in found))


def loaded(folder, vocabulary: Vocabulary, start_token: bool = True):
    tokenizer.save(folder, vocabulary, start_token, 17)
    return transformers.AutoTokenizer.from_pretrained(folder)


@examples(deadline=None, max_examples=50)
@given(found=some_words, start_token=st.booleans())
def test_any_list_goes_there_and_back(tmp_path_factory, found, start_token):
    listed = words.from_words(found)
    theirs = loaded(tmp_path_factory.mktemp("t"), listed.vocabulary, start_token)
    assert len(theirs) == len(listed.vocabulary)
    spelled = list(listed)
    encoded = theirs(spelled).input_ids
    assert encoded == [[END] * start_token + listed.vocabulary.encode(word).tolist() for word in spelled]
    assert theirs.batch_decode([[*ids, END] for ids in encoded], skip_special_tokens=True) == spelled
    assert [theirs.convert_ids_to_tokens(i) for i in range(2, len(theirs))] == list(listed.vocabulary.characters)


@pytest.mark.parametrize("word", ["<pad>", "<unk>", "<s>", "</s>", "[PAD]", "##a", "▁a", "Ġ", "a  b", "don't", "x ."])
def test_words_that_look_like_tokens_of_others_are_words(tmp_path, word):
    listed = words.from_words([word])
    theirs = loaded(tmp_path, listed.vocabulary)
    ids = theirs(word).input_ids
    assert ids == [END, *listed.vocabulary.encode(word)]
    assert theirs.decode(ids, skip_special_tokens=True) == word


def test_a_word_in_pieces_is_brought_to_its_composed_form(tmp_path):
    """As reading a list does it (NFC)."""
    listed = words.from_words(["née"])
    assert loaded(tmp_path, listed.vocabulary)(unicodedata.normalize("NFD", "née")).input_ids == [1, 3, 4, 2]


def test_a_line_break_is_the_end_of_a_word(tmp_path):
    theirs = loaded(tmp_path, Vocabulary("an"))
    assert theirs("anna\nna\n").input_ids == [1, 2, 3, 3, 2, 1, 3, 2, 1]
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (1, 1, 0)
    assert theirs.unk_token is None


def test_an_unknown_character_is_an_error_never_another_character(tmp_path):
    with pytest.raises(Exception, match="Missing"):  # tokenizers raises no class of its own
        loaded(tmp_path, Vocabulary("an"))("anx")


def test_the_file_alone_is_enough(tmp_path):
    """tokenizers reads tokenizer.json without transformers."""
    from tokenizers import Tokenizer

    tokenizer.save(tmp_path, Vocabulary(" aé"), True, 17)
    alone = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert alone.encode("é a").ids == [1, 4, 2, 3]
    assert alone.decode([1, 4, 2, 3, 1]) == "é a"
    assert json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]["é"] == 4
