#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets: tests/fuzz/corpus/<target>/<seed>, small files of every format, made here.

Files named regression-* are inputs that once broke something; they are kept as they are.
"""

import base64
import hashlib
import json
import pathlib
import re
import sqlite3
import struct
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests/fuzz/corpus"
PARTS = b"\n%%\n"  # between the files of one input (tests/fuzz/fuzz.h)


def put(target: str, **seeds: bytes | str) -> None:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if not old.name.startswith("regression-"):
            old.unlink()
    for name, data in seeds.items():
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def parts(*files: bytes | str) -> bytes:
    return PARTS.join(f.encode() if isinstance(f, str) else f for f in files)


# --- protobuf, GGUF and safetensors by hand

def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes | str | float) -> bytes:
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def gguf(values: dict) -> bytes:
    def text(s: str) -> bytes:
        return struct.pack("<Q", len(s.encode())) + s.encode()

    def scalar(v) -> tuple[int, bytes]:
        if isinstance(v, bool):
            return 7, bytes([v])
        if isinstance(v, int):
            return 5, struct.pack("<i", v)
        if isinstance(v, float):
            return 6, struct.pack("<f", v)
        return 8, text(v)

    body = b""
    for key, value in values.items():
        if isinstance(value, list):
            kind = scalar(value[0])[0]
            body += text(key) + struct.pack("<IIQ", 9, kind, len(value)) + b"".join(scalar(v)[1] for v in value)
        else:
            kind, data = scalar(value)
            body += text(key) + struct.pack("<I", kind) + data
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(values)) + body


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]], metadata: dict | None = None) -> bytes:
    header: dict = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


# --- a model of one layer and width 2

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 3, "hidden_size": 2,
          "intermediate_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
          "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"}


def tiny_model() -> bytes:
    layer = "model.layers.0."
    shapes = {"model.embed_tokens.weight": [3, 2], "model.norm.weight": [2],
              layer + "input_layernorm.weight": [2], layer + "post_attention_layernorm.weight": [2]}
    shapes |= {layer + f"self_attn.{p}_proj.weight": [2, 2] for p in "qkvo"}
    shapes |= {layer + f"mlp.{p}_proj.weight": [2, 2] for p in ("gate", "up", "down")}
    tensors = {}
    for name, shape in sorted(shapes.items()):
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        tensors[name] = ("F32", shape, struct.pack(f"<{count}f", *[0.5 * i for i in range(count)]))
    return safetensors(tensors, {"format": "pt"})


def models() -> None:
    config, weights = json.dumps(CONFIG), tiny_model()
    names = [n for n in json.loads(weights[8:8 + struct.unpack("<Q", weights[:8])[0]]) if n != "__metadata__"]
    index = json.dumps({"weight_map": {name: "a.safetensors" for name in names}})
    put("model_folder", one_file=parts(config, "", "", weights),
        sharded=parts(config, '{"eos_token_id": [2, 0]}', index, weights))
    llama3 = CONFIG | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}
    qwen = CONFIG | {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True,
                     "sliding_window": 128, "eos_token_id": [1, 2], "pad_token_id": -1}
    mistral = CONFIG | {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "head_dim": 4,
                        "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}, "dtype": "bfloat16"}
    put("model_config", llama=json.dumps(llama3), qwen=json.dumps(qwen), mistral=json.dumps(mistral))
    put("safetensors", model=weights, empty=safetensors({}),
        types=safetensors({"a": ("BF16", [2, 1], b"\x80\x3F\0\0"), "b": ("F64", [], struct.pack("<d", 1.5)),
                           "c": ("I64", [0, 7], b""), "d": ("U8", [3], b"abc")}, {"k": "v"}))
    # Embedding, norms, four attention matrices, three of the MLP, the last norm and the rotary tables.
    floats = 3 * 2 + 2 + 4 * 4 + 2 + 3 * 4 + 2 + 2 * 2
    tied = struct.pack("<7i", 2, 2, 1, 1, 1, 3, 2) + struct.pack(f"<{floats}f", *[0.25] * floats)
    untied = struct.pack("<7i", 2, 2, 1, 1, 1, -3, 2) + struct.pack(f"<{floats + 6}f", *[0.25] * (floats + 6))
    put("llama2c", tied=tied, untied=untied)


# --- tokenizers

BYTE_LEVEL = {
    "added_tokens": [{"id": 7, "content": "<|end|>", "special": True},
                     {"id": 8, "content": "<tool>", "special": False, "lstrip": True, "rstrip": True}],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]},
    "post_processor": {"type": "ByteLevel"}, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "ignore_merges": True,
              "vocab": {"a": 0, "b": 1, "c": 2, "\u0120": 3, "ab": 4, "abc": 5, "\u0120ab": 6},
              "merges": ["a b", "ab c", "\u0120 ab"]}}
MARKED = {
    "added_tokens": [{"id": i, "content": t, "special": True} for i, t in enumerate(("<unk>", "<s>", "</s>"))],
    "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
    "pre_tokenizer": None,
    "post_processor": {"type": "TemplateProcessing",
                       "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
                       "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "decoder": {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
              "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "<0xC3>": 3, "<0xA9>": 4, "\u2581": 5, "a": 6, "b": 7,
                        "\u2581a": 8, "ab": 9},
              "merges": [["\u2581", "a"], ["a", "b"]]}}


def tokenizers() -> None:
    llama3 = BYTE_LEVEL | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "behavior": "Isolated", "invert": False, "pattern": {"Regex":
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
            "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}}
    metaspace = MARKED | {"normalizer": None, "pre_tokenizer": {
        "type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}}
    small = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True,
             "added_tokens_decoder": {"2": {"content": "</s>", "special": True}}}
    put("tokenizer_json", byte_level=json.dumps(BYTE_LEVEL), llama3=json.dumps(llama3),
        metaspace=json.dumps(metaspace),
        marked=parts(json.dumps(MARKED), json.dumps(small), '{"pad_token": "<unk>"}', '{"eos_token_id": [2, 1]}'))
    put("merges_files", small=parts(json.dumps(BYTE_LEVEL["model"]["vocab"]), "#version: 0.2\na b\nab c\n\u0120 ab\n"))
    ranks = ["a", "b", "c", " ", "ab", "abc", " ab"]
    put("tiktoken", small="".join(f"{base64.b64encode(r.encode()).decode()} {i}\n" for i, r in enumerate(ranks)))
    marked = ["<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "\u2581", "a", "b", "\u2581a", "ab", "<user>"]
    put("gguf",
        llama=gguf({"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": marked,
                    "tokenizer.ggml.scores": [0.0, 0.0, 0.0, 0.0, 0.0, -3.0, -4.0, -5.0, -1.0, -2.0, 0.0],
                    "tokenizer.ggml.token_type": [2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 4],
                    "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.unknown_token_id": 0,
                    "tokenizer.ggml.add_bos_token": True}),
        gpt2=gguf({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe",
                   "tokenizer.ggml.tokens": ["a", "b", "c", "\u0120", "ab", "abc", "\u0120ab", "<|end|>"],
                   "tokenizer.ggml.token_type": [1] * 7 + [3],
                   "tokenizer.ggml.merges": ["a b", "ab c", "\u0120 ab"], "tokenizer.ggml.eos_token_id": 7}))
    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n"] + [b"<0x%02X>" % b for b in range(256)]
    vocabulary = struct.pack("<i", 6)
    for score, piece in [(0.0, p) for p in pieces] + [(-3.0, b" "), (-4.0, b"a"), (-5.0, b"b"), (-1.0, b" a")]:
        vocabulary += struct.pack("<fi", score, len(piece)) + piece
    put("llama2c_vocabulary", small=vocabulary)
    put("character_table", small='{"char_ords": [48, 49, 233, 128512], "chat_template": "{{ sep_token }}"}')
    sentencepieces()
    put("encode", words="It's 12345 tokens,\r\n  isn't it?\n\n The end",
        unicode="e\u0301 \u00e9 \u4e2d\u6587 \U0001F600",
        spaces=" \t\u00a0\u3000\u2581 a  b ", broken=b"a\xff\xe2\x96 b\xf0\x9f\x98")
    put("incremental_decoder", small=struct.pack("<12h", 0xC3, 0xA9, 257, 256, 97, -1, 0xF0, 0x9F, 300, 0xE2, 262, 32))


def sentencepieces() -> None:
    def model(normalizer: bytes, kind: int) -> bytes:
        out = b""
        for text, score, piece_kind in [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), ("\u2581", -3, 1),
                                        ("a", -4, 1), ("b", -5, 1), ("\u2581a", -1, 1), ("ab", -2, 1)]:
            out += field(1, field(1, text) + b"\x15" + struct.pack("<f", score) + field(3, piece_kind))
        return out + field(2, field(3, kind)) + field(3, normalizer + field(3, 1) + field(4, 0))

    trie = bytes(1024)
    put("sentencepiece", bpe=model(b"", 2), unigram=model(b"", 1),
        map=model(field(2, struct.pack("<I", len(trie)) + trie + b"x\0"), 2))


# --- jobs and the wire

def jobs() -> None:
    manifest: dict = {"step": 1, "build": "0.1.0", "created_at": 1700000000, "facts": {"loss": 0.5},
                      "files": {"model": {"size": 3, "sha256": hashlib.sha256(b"abc").hexdigest()},
                                "a/b": {"size": 0, "sha256": ""}}}
    put("checkpoint", small=parts(json.dumps(manifest), '{"step": 1, "metric": "eval_reward", "value": 0.5}'))
    log = "".join(json.dumps({"step": s, "loss": 0.1 * s, "timing_s/step": 1.0}) + "\n" for s in range(5))
    put("run_folder",
        small=parts('{"seed": 1}', '{"id":"event-000001","created_at":1,"level":"info"}\n', log, log),
        torn=parts("{", '{"id":"event-0', log[:-9], '{"step": 3}\n{"step": 3}\nnot json\n'))
    put("job_store", names="job-000001\njob-1\njob-000002\njob--00003\nrunning\nwarn\njob-9223372036854775807\n")
    schema = re.search(r'kSchema = R"\((.*?)\)"', (ROOT / "engine/jobs/store.cpp").read_text(), re.S)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "jobs.db"
        database = sqlite3.connect(file)
        database.executescript("PRAGMA page_size=512;" + schema.group(1))
        database.execute("INSERT INTO jobs(name, config, state, created_at, spec_hash) "
                         "VALUES('n', '{}', 'running', 1, 'h')")
        database.execute("INSERT INTO metrics VALUES(1, 1, '{\"loss\": 0.5}')")
        database.execute("INSERT INTO events VALUES(1, 1, 1, 'info', 'metrics', 'step 1', 'null', 1)")
        database.commit()
        database.close()
        put("job_database", small=file.read_bytes())


def wire() -> None:
    version = field(1, 1) + field(2, 2)
    completion = (field(1, 7) + field(4, version) + field(5, varint(3) + varint(99)) +
                  field(6, struct.pack("<2f", -0.5, -1.0)) + field(7, "text") + field(8, 1))
    sampling = field(1, 0.7) + field(2, 5) + field(5, 16) + field(6, "\n") + field(7, varint(2))
    lease = field(4, version) + field(5, 11) + field(9, varint(1) + varint(2)) + field(10, 2) + field(11, sampling)
    reward = field(1, 0.5) + field(2, 1) + field(3, "why\n") + field(4, field(1, "math") + field(2, 1.0))
    job = field(1, "job-000001") + field(2, "n") + field(3, 3) + field(6, 2) + field(12, "{}")
    event = field(1, 1) + field(2, 5) + field(3, "info") + field(4, "message") + field(5, "m") + field(6, '{"a": 1}')
    names = json.loads(tiny_model()[8:8 + struct.unpack("<Q", tiny_model()[:8])[0]])
    manifest, at = field(1, 1) + field(2, version) + field(3, json.dumps(CONFIG)), 0
    for name in sorted(n for n in names if n != "__metadata__"):
        begin, end = names[name]["data_offsets"]
        manifest += field(4, field(1, name) + field(2, "F32") +
                          field(3, b"".join(varint(d) for d in names[name]["shape"])) + field(4, at) +
                          field(5, end - begin))
        at += (end - begin + 63) // 64 * 64
    manifest += field(5, field(1, "tokenizer.json") + field(2, 1 << 20) + field(3, 9))
    manifest += field(6, "hash") + field(9, 1 << 20) + field(10, 2) + field(11, 1)
    update = field(1, 8) + field(2, 0.5) + field(3, varint(10) + varint((1 << 20) + 5))
    put("wire", completion=b"c" + completion, lease=b"l" + lease, reward=b"r" + reward, job=b"j" + job,
        event=b"e" + event, weights=b"w" + manifest, update=b"u" + update, status=b"s\x02Stream removed\n")


# --- what changed between two versions of the weights (engine/publish/delta.cpp)

def delta(weights: int, gaps: bytes, steps: list[int], others: list[int] = []) -> bytes:
    packed = bytes(low & 15 | (high & 15) << 4 for low, high in zip(steps[::2], [*steps[1::2], 0]))
    return struct.pack("<H4Q", weights, weights, len(steps), len(gaps), len(others)) + gaps + packed + struct.pack(
        f"<{len(others)}H", *others)


def deltas() -> None:
    put("delta", none=delta(9, b"", []), ends=delta(400, bytes([0, 255, 143]), [1, -8]),
        other=delta(300, bytes([5, 0, 1]), [0, 7, 0], [0x3F80, 0xBF80]), past=delta(4, bytes([4]), [1]),
        endless=delta(600, bytes([255, 255, 255]), [1]), dense=delta(8, bytes(8), [1] * 8))


# --- text, data, configs, rewards

def texts() -> None:
    put("text", controls="a\tb\r\n\x1b[31m \x7f \u0085 \u202e \u2066 \ufeff", broken=b"ok \xff \xc3\x28 \xed\xa0\x80",
        long="x, " * 40, name="learning_rat")
    put("json", kinds='{"a": [1, -2, 3.5e-7, true, null, "\\u00e9\\n"], "step": 18446744073709551615, "": {}}',
        comments='// first\n{"a": /* in */ 1}', deep="[" * 64 + "]" * 64, numbers="[0, -0, 1e308, 1E-400, 0.1]")
    put("jsonl", rows='{"prompt": "a", "solution": "1"}\n\n{"prompt": "\u00e9"}\r\n[1]\n{"a": \n',
        torn='{"prompt": "a"}\n{"b')
    grpo = {"trainer": "grpo", "model_name_or_path": "/m", "train_files": ["/d.jsonl"], "output_dir": "/o",
            "reward_funcs": [{"name": "math", "weight": 0.5}, {"name": "regex", "pattern": "a+"}],
            "learning_rate": 1e-6, "num_generations": 4, "beta": 0.04, "presample": {"k": 4}}
    dpo = {"trainer": "dpo", "model_name_or_path": "/m", "train_files": ["/d.jsonl"], "f_divergence_type":
           "js_divergence", "val_files": ["/v"], "eval_steps": 5, "correct_reward": None}
    put("job_config", grpo=parts("// a job\n" + json.dumps(grpo, indent=1),
                                         "beta=0.1\nreward_funcs.0.weight=2\nseed=7"),
        dpo=json.dumps(dpo), bad_override=parts(json.dumps(dpo), "train_files.a=1\n=\nresume.x"),
        typo='{"learning_rat": 1, "max_steps": 0, "reward_funcs": [{"nam": "x"}]}')
    put("math", fraction=parts("\\frac{1}{2}+\\sqrt[3]{x^2}-\\sin^2(y)", "$0.5$"),
        interval=parts("x \\in [-1, \\frac{1}{2}) \\cup \\{3\\}", "(3;4)"),
        matrix=parts("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\boxed{x=\\pm 2}"),
        relation=parts("-2 \\leq x \\leq 7", "[-2, 7]"),
        text=parts("the answer is 1{,}000.5\\% and 2 1/2", "#### 1,234.5e6"),
        functions=parts("\\binom{4}{2} : \\log_2 8 = e^{i\\pi}", "5!"))
    reward = {name: json.dumps({"name": name}) for name in ("exact", "numeric", "math")}
    row = '{"solution": "12"}'
    put("reward", exact=parts(reward["exact"], "12", row), numeric=parts(reward["numeric"], "so #### 1,2.0", row),
        math=parts('{"name": "math", "extract": "boxed"}', "\\boxed{3\\cdot 4}", row),
        regex=parts('{"name": "regex", "pattern": "(a|b)*c{1,3}$", "ignore_case": true}', "ABC", "{}"),
        format=parts('{"name": "format", "format": "think_answer", "no_answer_score": -1}',
                     "<think>\na\n</think>\n<answer>\nb\n</answer>", row),
        length=parts('{"name": "length", "max_length": 9, "soft_length": 4}', "twelve bytes", row),
        prefix=parts('{"name": "prefix_match", "weight": 2.5}', "129", '{"answer": 12.5}'))


def main() -> None:
    for make in (models, tokenizers, jobs, wire, deltas, texts):
        make()
    files = [f for f in CORPUS.rglob("*") if f.is_file()]
    print(f"{len(files)} files, {sum(f.stat().st_size for f in files)} bytes in {CORPUS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
