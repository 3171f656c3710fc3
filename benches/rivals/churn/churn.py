#!/usr/bin/env python3
"""What churn does to hnswlib and usearch: the protocol of `orthant bench churn`, with the same JSON.

    python churn.py --engine hnswlib --data data/sift-128 --metric l2 --turnover 10 --pattern random

needs numpy and the engine's own package (hnswlib or usearch). The steps are those of
`orthant bench churn --help`: half of the rows in, rounds of 1 % replaced, recall and self-found against an
exact scan, a fresh build in a process of its own. Draws come from numpy's generator, so which rows go and come
differs from orthant's, not how they are chosen.

hnswlib marks rows deleted and inserts with replace_deleted=True; its capacity is exactly the live rows, so
that nothing but replaced ones can make room. usearch removes rows and adds others; both as their documentation
says. All on one thread, calls per round, so that Python costs nothing per row.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

ROUNDS = 100
CLUSTERS = 100
SELF_EF = 64
SELF_K = 10


def read_fbin(path, most):
    with open(path, "rb") as file:
        rows, dim = np.fromfile(file, dtype="<u4", count=2)
    rows = min(int(rows), most) if most else int(rows)
    values = np.fromfile(path, dtype="<f4", count=rows * int(dim), offset=8)
    return values.reshape(rows, int(dim))


def anonymous_bytes():
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return None


class Hnswlib:
    def __init__(self, dim, metric, args, capacity):
        import hnswlib

        self.index = hnswlib.Index(space={"l2": "l2", "ip": "ip", "cosine": "cosine"}[metric], dim=dim)
        self.index.init_index(
            max_elements=capacity, M=args.m, ef_construction=args.ef_construction,
            random_seed=args.seed, allow_replace_deleted=True,
        )
        self.index.set_num_threads(1)

    def add(self, keys, rows, again):
        self.index.add_items(rows, keys, num_threads=1, replace_deleted=again)

    def remove(self, keys):
        for key in keys:
            self.index.mark_deleted(key)

    def search(self, rows, k, ef):
        self.index.set_ef(max(ef, k))
        keys, distances = self.index.knn_query(rows, k=k, num_threads=1)
        return keys.astype(np.int64), distances


class Usearch:
    def __init__(self, dim, metric, args, capacity):
        from usearch.index import Index

        self.index = Index(
            ndim=dim, metric={"l2": "l2sq", "ip": "ip", "cosine": "cos"}[metric], dtype="f32",
            connectivity=args.m, expansion_add=args.ef_construction, expansion_search=args.ef,
        )

    def add(self, keys, rows, again):
        self.index.add(keys, rows, threads=1)

    def remove(self, keys):
        self.index.remove(keys, threads=1)

    def search(self, rows, k, ef):
        self.index.expansion_search = max(ef, k)
        found = self.index.search(rows, k, threads=1)
        keys = np.array(found.keys, dtype=np.int64).reshape(len(rows), -1)
        return keys, np.array(found.distances).reshape(len(rows), -1)


ENGINES = {"hnswlib": Hnswlib, "usearch": Usearch}


def distances(metric, queries, rows):
    """Smaller is nearer; monotonous in the metric, which is all that the order needs."""
    product = queries @ rows.T
    if metric == "l2":
        return (rows * rows).sum(1)[None, :] - 2 * product
    if metric == "cosine":
        return -product / np.maximum(np.linalg.norm(rows, axis=1)[None, :], 1e-30)
    return -product


def exact(metric, queries, rows, k):
    """The k nearest rows to each query, and the k-th distance."""
    nearest, last = [], []
    for start in range(0, len(queries), 64):
        scores = distances(metric, queries[start:start + 64], rows)
        part = np.argpartition(scores, k - 1, axis=1)[:, :k]
        nearest.append(part)
        last.append(np.take_along_axis(scores, part, axis=1).max(1))
    return np.concatenate(nearest), np.concatenate(last)


def nearest_center(metric, rows, centers):
    return np.concatenate([
        distances(metric, rows[start:start + 4096], centers).argmin(1) for start in range(0, len(rows), 4096)
    ])


class LiveRows:
    def __init__(self, pattern, metric, rows, seed):
        self.pattern, self.draw = pattern, np.random.default_rng(seed)
        half = len(rows) // 2
        self.live, self.others, self.next = list(range(half)), list(range(half, len(rows))), half
        self.rows = len(rows)
        if pattern == "clustered":
            centers = rows[self.draw.choice(len(rows), min(CLUSTERS, len(rows)), replace=False)]
            self.clusters = nearest_center(metric, rows, centers)

    def take(self, rows):
        place = self.draw.integers(len(rows))
        rows[place], rows[-1] = rows[-1], rows[place]
        return rows.pop()

    def round(self, size):
        if self.pattern == "random":
            gone = [self.take(self.live) for _ in range(size)]
        elif self.pattern == "sliding":
            gone, self.live = self.live[:size], self.live[size:]
        else:
            cluster = self.clusters[self.live[self.draw.integers(len(self.live))]]
            gone = [row for row in self.live if self.clusters[row] == cluster]
            self.live = [row for row in self.live if self.clusters[row] != cluster]
        if self.pattern == "sliding":
            come = [(self.next + i) % self.rows for i in range(len(gone))]
            self.next += len(gone)
        else:
            come = [self.take(self.others) for _ in range(min(len(gone), len(self.others)))]
        self.live.extend(come)
        self.others.extend(gone)
        return np.array(gone, dtype=np.uint64), np.array(come, dtype=np.uint64)


def figures(args, engine, data, queries, live, before):
    memory = anonymous_bytes()
    rows = data[live]
    k = args.k
    nearest, last = exact(args.metric, queries, rows, k)
    found, _ = engine.search(queries, k, args.ef)
    hits = 0
    for query in range(len(queries)):
        # A tie at the k-th true distance counts, as in orthant's figures.
        keys = np.array([key for key in set(found[query].tolist()) if 0 <= key < len(data)], dtype=np.int64)
        if len(keys):
            scores = distances(args.metric, queries[query:query + 1], data[keys])[0]
            hits += min(k, int((scores <= last[query] + 1e-6 * abs(last[query])).sum()))
    own = 0
    for start in range(0, len(live), 1000):
        keys = live[start:start + 1000]
        found, how_far = engine.search(data[keys], SELF_K, SELF_EF)
        named = (found == keys[:, None]).any(1)
        crowded = how_far[:, -1] <= how_far[:, 0] + 1e-12
        own += int((named | crowded).sum())
    return {
        "recall": hits / (k * len(queries)),
        "self_found": own / len(live),
        "rss_bytes": None if memory is None else memory - before,
    }


def build(args, data, live):
    engine = ENGINES[args.engine](data.shape[1], args.metric, args, len(live))
    start = time.perf_counter()
    for place in range(0, len(live), 1000):
        engine.add(live[place:place + 1000].astype(np.uint64), data[live[place:place + 1000]], False)
    return engine, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=sorted(ENGINES), required=True)
    parser.add_argument("--data", required=True, help="folder with base.fbin and query.fbin")
    parser.add_argument("--metric", choices=["l2", "ip", "cosine"], required=True)
    parser.add_argument("--turnover", type=float, default=10)
    parser.add_argument("--pattern", choices=["random", "sliding", "clustered"], default="random")
    parser.add_argument("--ef", type=int, default=64)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--ef-construction", type=int, default=200)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--limit", type=int, default=0, help="use the first N rows; 0 = all")
    parser.add_argument("--max-queries", type=int, default=0)
    parser.add_argument("--fresh-of", help=argparse.SUPPRESS)
    args = parser.parse_args()

    data = read_fbin(os.path.join(args.data, "base.fbin"), args.limit)
    queries = read_fbin(os.path.join(args.data, "query.fbin"), args.max_queries)
    if args.fresh_of:
        live = np.fromfile(args.fresh_of, dtype="<u4").astype(np.int64)
        before = anonymous_bytes()
        engine, build_s = build(args, data, live)
        result = figures(args, engine, data, queries, live, before)
        print(json.dumps({**result, "build_s": build_s}))
        return

    rows = LiveRows(args.pattern, args.metric, data, args.seed)
    before = anonymous_bytes()
    engine, _ = build(args, data, np.array(rows.live, dtype=np.int64))
    size = len(rows.live)
    target, done, remove_s, insert_s = round(size * args.turnover), 0, 0.0, 0.0
    said = time.perf_counter()
    while done < target:
        gone, come = rows.round(min(size // ROUNDS, target - done))
        start = time.perf_counter()
        engine.remove(gone)
        middle = time.perf_counter()
        engine.add(come, data[come.astype(np.int64)], True)
        end = time.perf_counter()
        remove_s += middle - start
        insert_s += end - middle
        done += len(gone)
        if end - said > 20:
            said = end
            print(f"replacing: {done} of {target}", file=sys.stderr)
    live = np.array(sorted(rows.live), dtype=np.int64)
    after = figures(args, engine, data, queries, live, before)
    del engine
    with tempfile.NamedTemporaryFile(suffix=".u32") as file:
        live.astype("<u4").tofile(file.name)
        line = subprocess.run(
            [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--fresh-of", file.name],
            check=True, stdout=subprocess.PIPE,
        ).stdout
    fresh = json.loads(line)
    ratio = after["rss_bytes"] / fresh["rss_bytes"] if after["rss_bytes"] and fresh["rss_bytes"] else None
    print(json.dumps({
        "type": "churn", "engine": args.engine, "n": len(data), "live": len(live), "d": data.shape[1],
        "metric": args.metric, "pattern": args.pattern, "turnover": args.turnover, "replaced": done,
        "m": args.m, "ef_construction": args.ef_construction, "seed": args.seed, "threads": 1,
        "k": args.k, "ef": args.ef, "queries": len(queries),
        "recall_fresh": fresh["recall"], "recall_after": after["recall"],
        "self_found": after["self_found"], "self_found_fresh": fresh["self_found"],
        "rss_bytes": after["rss_bytes"], "rss_fresh_bytes": fresh["rss_bytes"], "rss_ratio": ratio,
        "insert_us": insert_s * 1e6 / done, "delete_us": remove_s * 1e6 / done,
        "fresh_insert_us": fresh["build_s"] * 1e6 / len(live),
        "delete_to_insert_cost": remove_s / insert_s,
    }))


if __name__ == "__main__":
    main()
