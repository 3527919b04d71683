"""Writes small vocabularies in the published formats, tests/golden/tokenizer_*, and tokenizer_cases.json: texts with
the numbers that tokenizers (for the rank file tiktoken) gives them.

    python3 tests/golden/make_tokenizers.py tests/golden        (tokenizers 0.23.3, tiktoken 0.14.0)
"""
import base64
import json
import sys

import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

folder = sys.argv[1]
CORPUS = [
    "The brain listens while the model reads, and the words that the model reads are the words the brain hears.",
    "There is a language in the cortex; we don't know all of its words, but we've heard 1234 of them.",
    "A voxel isn't a neuron, and a neuron isn't a thought: it's the pattern that they'll share.",
    "Das Gehirn hört zu. Le cerveau écoute. Ο εγκέφαλος ακούει. Мозг слушает. 脳は聞いている。 뇌는 듣는다.",
]
TEXTS = [
    "", " ", "  ", "a", " the model", "The words that the brain hears.", "  two  spaces ", "tabs\t\tand\n\n  newlines\r\n \r\n x",
    "don't I'LL we've 'S 'ſ ''s", "1234567 12 3 ½ ² ３", "👩‍👩‍👧‍👦 emoji 😀", "café cafe\u0301 İSTANBUL", "한국어 ᄒ\u1161",
    "Мозг ακούει 脳は", "\u00a0nbsp\u2003em\u3000ideographic", "!?...  (x)", "words\u0085next\u2028line", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "<|endoftext|>the<|endoftext|> model", "<s>the</s> model", "x <mask>  y", "▁the▁model", "the\n\nmodel\n", "\n\nthe \n model",
]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
ids, vocabularies = {}, {}


def save(name, t):
    text = json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":"))
    open(f"{folder}/tokenizer_{name}.json", "w", encoding="utf8").write(text + "\n")
    ids[name] = [t.encode(x).ids for x in TEXTS]


def byte_level(name, pattern, normalizer=None, size=400, special=("<|endoftext|>",), added=(), **model):
    t = Tokenizer(models.BPE(**model))
    if normalizer:
        t.normalizer = normalizer
    own = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    t.pre_tokenizer = own if pattern is None else pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "removed" if pattern == CLIP else "isolated", invert=pattern == CLIP), own])
    t.decoder = decoders.ByteLevel()
    suffix = {"end_of_word_suffix": "</w>"} if pattern == CLIP else {}
    t.train_from_iterator(CORPUS * 3, trainers.BpeTrainer(
        vocab_size=size, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=[], **suffix))
    if suffix:  # the trainer gives </w> only to the characters that end a word somewhere
        j = json.loads(t.to_str())
        v = j["model"]["vocab"]
        for c in sorted(pre_tokenizers.ByteLevel.alphabet()):
            v.setdefault(c + "</w>", len(v))
        t = Tokenizer.from_str(json.dumps(j))
    t.add_special_tokens(list(special))
    t.add_tokens(list(added))
    return t


t = byte_level("gpt2", None)
save("gpt2", t)
model = json.loads(t.to_str())["model"]

# The same merges as tiktoken has them: ranks by the order of the merges.
decode = {c: b for b, c in {b: chr(b) for b in list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))}.items()}
for i, b in enumerate(x for x in range(256) if chr(x) not in decode):
    decode[chr(256 + i)] = b
tokens = [bytes([b]) for b in range(256)] + [bytes(decode[c] for c in "".join(m)) for m in model["merges"]]
ranks = {token: i for i, token in enumerate(tokens)}
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
e = tiktoken.Encoding("small", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={})
with open(f"{folder}/tokenizer_ranks.tiktoken", "w") as f:
    f.writelines(f"{base64.b64encode(token).decode()} {i}\n" for token, i in ranks.items())
ids["ranks"] = [e.encode(x) for x in TEXTS]

t = byte_level("llama3", LLAMA3, ignore_merges=True, special=("<|begin|>", "<|endoftext|>"))
t.post_processor = processors.Sequence([
    processors.ByteLevel(trim_offsets=False),
    processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", t.token_to_id("<|begin|>"))])])
save("llama3", t)
save("qwen2", byte_level("qwen2", QWEN2, normalizers.NFC(), added=(
    AddedToken("<mask>", lstrip=True, rstrip=True, special=True, normalized=False),
    AddedToken("cafe\u0301", normalized=True))))

t = byte_level("clip", CLIP, normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]),
               size=600, special=("<|startoftext|>", "<|endoftext|>"), end_of_word_suffix="</w>", unk_token=None)
end = t.token_to_id("<|endoftext|>")
t.post_processor = processors.RobertaProcessing(("<|endoftext|>", end), ("<|startoftext|>", t.token_to_id("<|startoftext|>")),
                                                add_prefix_space=False, trim_offsets=False)
save("clip", t)

# SentencePiece-style: trained on words that begin with U+2581, used without words.
spelled = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)]
small = Tokenizer(models.BPE())
small.pre_tokenizer = pre_tokenizers.Metaspace()
small.train_from_iterator(CORPUS * 3, trainers.BpeTrainer(vocab_size=450, special_tokens=spelled, show_progress=False))
trained = json.loads(small.to_str())["model"]
back = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
for name, normalizer, before in [
        ("llama2", normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None),
        ("metaspace", None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False))]:
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if normalizer:
        t.normalizer = normalizer
    if before:
        t.pre_tokenizer = before
    t.decoder = back
    j = json.loads(t.to_str())
    j["model"]["vocab"], j["model"]["merges"] = trained["vocab"], trained["merges"]
    j["added_tokens"] = [dict(id=i, content=c, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
                         for i, c in enumerate(spelled[:3])]
    t = Tokenizer.from_str(json.dumps(j))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    save(name, t)

t = Tokenizer(models.Unigram())
t.normalizer = normalizers.NFC()
t.pre_tokenizer = pre_tokenizers.Metaspace()
t.decoder = decoders.Metaspace()
t.train_from_iterator(CORPUS * 3, trainers.UnigramTrainer(vocab_size=220, unk_token="<unk>", special_tokens=["<unk>", "<s>", "</s>"],
                                                          show_progress=False))
save("unigram", t)
out = json.dumps({"texts": TEXTS, "ids": ids}, ensure_ascii=False, separators=(",", ":"))
open(f"{folder}/tokenizer_cases.json", "w", encoding="utf8").write(out + "\n")
