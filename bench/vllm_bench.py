# SPDX-License-Identifier: Apache-2.0
"""Speed of vLLM's CPU build on a 16-bit folder. usage: vllm_bench.py FOLDER PROMPT GEN BATCH"""
import json
import random
import sys
import time

from vllm import LLM, SamplingParams

VOCABULARY = 10000


def main():
    model, prompt_len, gen_len, batch = sys.argv[1], *map(int, sys.argv[2:5])
    llm = LLM(model=model, dtype="bfloat16", max_model_len=prompt_len + gen_len + 16, max_num_seqs=batch,
              enable_prefix_caching=False, enforce_eager=True)
    rng = random.Random(1)
    prompts = [{"prompt_token_ids": [rng.randrange(100, VOCABULARY) for _ in range(prompt_len)]}
               for _ in range(batch)]

    def seconds(count):
        params = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)
        start = time.perf_counter()
        llm.generate(prompts, params, use_tqdm=False)
        return time.perf_counter() - start

    seconds(2)
    first = seconds(1)
    print(json.dumps({"prefill_tok_s": batch * prompt_len / first,
                      "decode_tok_s": batch * (gen_len - 1) / (seconds(gen_len) - first)}))


if __name__ == "__main__":
    main()
