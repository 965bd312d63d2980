import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")

from experiments.data.ptb import load_ptb
from experiments.data.ptb_stream.builder import ROW, read_symbols
from experiments.data.source_files import DataError

TEXT = " a cat sat \n the <unk> sat \n"


def write_texts(folder, train, valid=TEXT, test=TEXT):
    for name, text in (("train", train), ("valid", valid), ("test", test)):
        (folder / f"ptb.{name}.txt").write_text(text)
    return folder


def spell(ids, vocabulary):
    return [vocabulary[place] for place in ids]


def test_words_come_back_with_the_ends_of_lines(tmp_path):
    write_texts(tmp_path, TEXT, "the dog\n", "sat\n")
    streams = load_ptb("word", tmp_path, tmp_path / "cache", exact=False)
    expected = ["a", "cat", "sat", "<eos>", "the", "<unk>", "sat", "<eos>"]
    assert spell(streams.train, streams.vocabulary) == expected
    assert spell(streams.validation, streams.vocabulary) == ["the", "<unk>", "<eos>"]
    assert spell(streams.test, streams.vocabulary) == ["sat", "<eos>"]
    assert streams.train.dtype == np.int32


def test_characters_keep_the_spaces_within_a_line(tmp_path):
    write_texts(tmp_path, TEXT)
    streams = load_ptb("char", tmp_path, tmp_path / "cache", exact=False)
    assert "".join(spell(streams.train, streams.vocabulary)) == (
        "a cat sat\nthe <unk> sat\n"
    )


def test_a_long_stream_is_one_piece(tmp_path):
    text = "".join(f"w{number}\n" for number in range(ROW + 7))
    write_texts(tmp_path, text, text, text)
    streams = load_ptb("word", tmp_path, tmp_path / "cache", exact=False)
    words = spell(streams.train, streams.vocabulary)
    assert words[::2] == [f"w{number}" for number in range(ROW + 7)]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa b\nc\n",  # byte order mark
        b"a b\r\nc\r\n",
        b"a b\nc",
        b" a b \n\n c \n",
    ],
)
def test_texts_of_other_systems_are_the_same_text(tmp_path, content):
    path = tmp_path / "text"
    path.write_bytes(content)
    assert read_symbols(path, word=True) == ["a", "b", "<eos>", "c", "<eos>"]
    assert "".join(read_symbols(path, word=False)) == "a b\nc\n"


@pytest.mark.parametrize("word", [True, False])
@pytest.mark.parametrize("content", [b"", b"\n \r\n"])
def test_an_empty_text_is_named(tmp_path, content, word):
    path = tmp_path / "text"
    path.write_bytes(content)
    with pytest.raises(DataError, match="text holds no text"):
        read_symbols(path, word=word)


def test_what_is_no_text_is_named(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"\x80\x81")
    with pytest.raises(DataError, match="text is no UTF-8 text"):
        read_symbols(path, word=True)


def test_an_unknown_character_is_named(tmp_path):
    write_texts(tmp_path, "ab\n", "ax\n", "a\n")
    with pytest.raises(DataError, match="'x' occurs in no training text"):
        load_ptb("char", tmp_path, tmp_path / "cache", exact=False)


def test_missing_files_are_named_with_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"ptb.train.txt is missing(.|\n)*--data-dir"):
        load_ptb("word", tmp_path, tmp_path / "cache")
    with pytest.raises(DataError, match="to be had from no public address"):
        load_ptb("word", None, tmp_path / "cache")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("level", "lengths", "symbols"),
    [
        ("word", [929_589, 73_760, 82_430], 10_000),
        ("char", [5_017_482, 393_042, 442_423], 50),
    ],
)
def test_published_text(published, tmp_path, level, lengths, symbols):
    streams = load_ptb(level, published / "ptb", tmp_path)
    assert [len(stream) for stream in streams[:3]] == lengths
    assert len(streams.vocabulary) == symbols
    assert streams.train.max() == symbols - 1
