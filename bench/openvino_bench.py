# SPDX-License-Identifier: Apache-2.0
"""Speed of OpenVINO GenAI on a GGUF file. usage: openvino_bench.py GGUF PROMPT GEN BATCH THREADS"""
import json
import random
import sys
import time

import numpy as np
import openvino as ov
import openvino_genai as genai

VOCABULARY = 10000  # token ids below this exist in every model compared


def prompt(length, seed):
    rng = random.Random(seed)
    ids = [[rng.randrange(100, VOCABULARY) for _ in range(length)]]
    return ov.Tensor(np.array(ids, dtype=np.int64))


def config(tokens):
    c = genai.GenerationConfig()
    c.max_new_tokens = tokens
    c.ignore_eos = True
    c.do_sample = False
    return c


def single(model, prompt_len, gen_len, threads):
    pipeline = genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)
    tokens = prompt(prompt_len, 1)
    mask = ov.Tensor(np.ones((1, prompt_len), dtype=np.int64))
    pipeline.generate(genai.TokenizedInputs(prompt(32, 0), ov.Tensor(np.ones((1, 32), dtype=np.int64))), config(4))

    def seconds(count):
        start = time.perf_counter()
        pipeline.generate(genai.TokenizedInputs(tokens, mask), config(count))
        return time.perf_counter() - start

    first = seconds(1)
    return prompt_len / first, (gen_len - 1) / (seconds(gen_len) - first)


def batched(model, prompt_len, gen_len, batch, threads):
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 4
    scheduler.max_num_seqs = batch
    scheduler.max_num_batched_tokens = 512
    scheduler.enable_prefix_caching = False
    pipeline = genai.ContinuousBatchingPipeline(model, scheduler, "CPU", {"INFERENCE_NUM_THREADS": threads})
    prompts = [prompt(prompt_len, i) for i in range(batch)]
    pipeline.generate([prompt(32, 99)], [config(4)])

    def seconds(count):
        start = time.perf_counter()
        pipeline.generate(prompts, [config(count)] * batch)
        return time.perf_counter() - start

    first = seconds(1)
    return batch * prompt_len / first, batch * (gen_len - 1) / (seconds(gen_len) - first)


def main():
    model, prompt_len, gen_len, batch, threads = sys.argv[1], *map(int, sys.argv[2:6])
    if batch == 1:
        prefill, decode = single(model, prompt_len, gen_len, threads)
    else:
        prefill, decode = batched(model, prompt_len, gen_len, batch, threads)
    print(json.dumps({"prefill_tok_s": prefill, "decode_tok_s": decode}))


if __name__ == "__main__":
    main()
