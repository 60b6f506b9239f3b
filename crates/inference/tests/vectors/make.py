"""Writes minilm.json: vectors of all-MiniLM-L6-v2 as sentence-transformers (PyTorch) computes them.

    pip install sentence-transformers
    python make.py FOLDER_WITH_THE_WEIGHTS

Texts that fit the model's window are encoded by the library as a whole. Longer ones the library would cut off; the
reference for them is put together here, from windows that the library's model computes: follow each other without
overlap, end before a word where they can, and are averaged by their number of tokens.
"""

import json
import pathlib
import sys

import torch
from sentence_transformers import SentenceTransformer

LONG_ENGLISH = (
    "A library is a collection of books, and possibly other materials and media, that is accessible for use by its "
    "members. Cataloguers describe each work, its author, its subject and its place on the shelf. "
) * 14
LONG_MIXED = " ".join(
    f"Section {number}: the quick brown fox inspects valve no. {number * 37} and reports unbelievably "
    f"counterproductive micromanagement."
    for number in range(40)
)

TEXTS = [
    "",
    "Hello",
    "The quick brown fox jumps over the lazy dog.",
    "How do I maintain a hydraulic pump?",
    "Ünïcode, naïve café — “quotes” and an ellipsis…",
    "日本語の文章と English together",
    "fn main() { println!(\"{}\", 1 + 1); }",
    "Tabs\tand\nnew lines\r\nand   many    spaces",
    "supercalifragilisticexpialidocious " * 8,
    "🦀 emoji and zero\u200bwidth\u00a0spaces",
    "word " * 253 + "end",
    LONG_ENGLISH,
    LONG_MIXED,
    "x" * 90 + " " + "antidisestablishmentarianism" * 3,
]

CAPACITY = 254  # the window of 256 without its two marks


def cut(words):
    start, ranges = 0, []
    while len(words) - start > CAPACITY:
        end = start + CAPACITY
        while end > start and words[end] == words[end - 1]:
            end -= 1
        end = end if end > start else start + CAPACITY
        ranges.append((start, end))
        start = end
    return ranges + [(start, len(words))]


def main():
    model = SentenceTransformer(sys.argv[1], device="cpu")
    assert model.max_seq_length == 256
    tokenizer, transformer = model.tokenizer, model[0].auto_model
    transformer.eval()

    def window_vector(ids):
        ids = torch.tensor([[tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]])
        with torch.no_grad():
            tokens = transformer(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        return torch.nn.functional.normalize(tokens.mean(dim=0), dim=0)

    references = []
    for text in TEXTS:
        encoding = tokenizer(text, add_special_tokens=False, truncation=False)
        ranges = cut(encoding.word_ids())
        if len(ranges) == 1:
            vector = torch.tensor(model.encode(text, normalize_embeddings=True))
            by_hand = window_vector(encoding["input_ids"])
            assert torch.allclose(vector, by_hand, atol=1e-5), text
        else:
            total = sum((end - start) * window_vector(encoding["input_ids"][start:end]) for start, end in ranges)
            vector = torch.nn.functional.normalize(total, dim=0)
        references.append({
            "text": text,
            "windows": len(ranges),
            "vector": [round(float(number), 8) for number in vector],
        })

    lines = ",\n".join(json.dumps(reference, ensure_ascii=False) for reference in references)
    pathlib.Path(__file__).with_name("minilm.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


main()
