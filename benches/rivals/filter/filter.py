"""Filtered searches of other engines, with the filters, queries and beam of `orthant bench filter`.

    python filter.py --data DIR [--dir KEPT] [--native native.so] [--engines hnswlib,usearch,qdrant] [--queries 200] [--ef 128]

Needs numpy; qdrant-edge-py from PyPI for qdrant; `native.so` (see native.cpp) for hnswlib and usearch, whose Python packages call a
Python function for each node, or take no filter. DIR holds base.fbin, query.fbin and, optionally, `metric`. Prints one JSON object per
line, the fields of `orthant bench filter`. One thread searches.
"""

import argparse
import json
import os
import tempfile
import time

import numpy as np

K = 10
SELECTIVITIES = [50.0, 10.0, 5.0, 1.0, 0.3, 0.1, 0.01]


def fbin(path):
    with open(path, "rb") as file:
        rows, dim = np.fromfile(file, "<u4", 2)
        return np.fromfile(file, "<f4", int(rows) * int(dim)).reshape(rows, dim)


def distances(metric, query, base):
    if metric == "l2":
        return ((base - query) ** 2).sum(axis=1)
    return 1 - base @ query if metric == "cosine" else -(base @ query)


class Native:
    """hnswlib or usearch by way of native.cpp."""

    def __init__(self, name, library, metric, base, fields, folder, ef):
        import ctypes as c

        self.fields = {key: np.ascontiguousarray(values, np.int64) for key, values in fields.items()}
        self.ef, self.base = ef, np.ascontiguousarray(base, np.float32)
        library = c.CDLL(os.path.abspath(library))
        start, self.find = getattr(library, name + "_open"), getattr(library, name + "_search")
        start.restype, self.find.restype = c.c_void_p, c.c_uint64
        start.argtypes = [c.c_int, c.c_uint64, c.c_uint64, c.c_void_p, c.c_char_p, c.c_uint]
        self.find.argtypes = [c.c_void_p, c.c_void_p, c.c_uint64, c.c_uint64, c.c_void_p, c.c_int64, c.c_void_p]
        path = os.path.join(folder, name + ".bin").encode()
        rows, dim = self.base.shape
        self.index = start(metric == "l2", dim, rows, self.base.ctypes.data, path, os.cpu_count())
        assert self.index, f"{name}: no index"

    def searcher(self, field, bound):
        values = None if field is None else self.fields[field].ctypes.data
        out = np.zeros(self.ef + K, np.uint64)
        place = out.ctypes.data

        def search(query):
            return out[: self.find(self.index, query.ctypes.data, K, self.ef, values, bound, place)].tolist()

        return search


class Qdrant:
    def __init__(self, metric, base, fields, folder, ef):
        import qdrant_edge as q

        self.q, self.ef = q, ef
        path = os.path.join(folder, "qdrant")
        distance = {"l2": q.Distance.Euclid, "cosine": q.Distance.Cosine, "ip": q.Distance.Dot}[metric]
        if os.path.exists(path):
            self.shard = q.EdgeShard.load(path)
            return
        os.makedirs(path)
        hnsw = q.HnswIndexConfig(m=16, ef_construct=200, full_scan_threshold=10_000)
        optimizers = q.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1000)
        vectors = q.EdgeVectorParams(size=base.shape[1], distance=distance)
        self.shard = q.EdgeShard.create(
            path, q.EdgeConfig(vectors=vectors, hnsw_config=hnsw, optimizers=optimizers, max_search_threads=1)
        )
        for field in fields:
            self.shard.update(q.UpdateOperation.create_field_index(field, q.PayloadSchemaType.Integer))
        for first in range(0, len(base), 1000):
            points = [
                q.Point(row, base[row].tolist(), {name: int(values[row]) for name, values in fields.items()})
                for row in range(first, min(first + 1000, len(base)))
            ]
            self.shard.update(q.UpdateOperation.upsert_points(points))
        while self.shard.optimize():
            pass
        self.shard.flush()

    def searcher(self, field, bound):
        q = self.q
        chosen = None
        if field is not None:
            chosen = q.Filter(must=[q.FieldCondition(field, range=q.RangeFloat(lt=float(bound)))])
        params = q.SearchParams(hnsw_ef=self.ef)

        def search(query):
            request = q.SearchRequest(query=q.Query.Nearest(query.tolist()), limit=K, filter=chosen, params=params)
            return [point.id for point in self.shard.search(request)]

        return search


def timed(search, queries):
    found = [search(query) for query in queries]
    start = time.perf_counter()
    for query in queries:
        search(query)
    return found, len(queries) / (time.perf_counter() - start)


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--data", required=True)
    flags.add_argument("--dir")
    flags.add_argument("--engines", default="hnswlib,usearch,qdrant")
    flags.add_argument("--native", default="native.so")
    flags.add_argument("--queries", type=int, default=200)
    flags.add_argument("--ef", type=int, default=128)
    flags.add_argument("--build-only", action="store_true")
    args = flags.parse_args()
    base = fbin(os.path.join(args.data, "base.fbin"))
    queries = fbin(os.path.join(args.data, "query.fbin"))
    metric_file = os.path.join(args.data, "metric")
    metric = open(metric_file).read().strip() if os.path.exists(metric_file) else "l2"
    if metric == "cosine":
        base = base / np.maximum(np.linalg.norm(base, axis=1, keepdims=True), 1e-30)
        queries = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-30)
    n = len(base)
    drawn = (np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    near = np.empty(n, np.int64)
    near[np.argsort(distances(metric, base[n // 2], base), kind="stable")] = np.arange(n)
    fields = {"any": (drawn.astype(np.int64) * n) >> 24, "near": near}
    order = np.argsort(distances(metric, base[n // 2], queries), kind="stable")
    count = max(1, min(args.queries, len(queries) // 3))
    sets = [
        ("none", "any", np.ascontiguousarray(queries[np.arange(count) * len(queries) // count], np.float32)),
        ("positive", "near", queries[order[:count]]),
        ("negative", "near", queries[order[::-1][:count]]),
    ]
    folder = args.dir or tempfile.mkdtemp()
    os.makedirs(folder, exist_ok=True)
    for name in args.engines.split(","):
        if name == "qdrant":
            engine = Qdrant(metric, base, fields, folder, args.ef)
        else:
            engine = Native(name, args.native, metric, base, fields, folder, args.ef)
        if args.build_only:
            continue
        for correlation, field, chosen in sets:
            _, unfiltered = timed(engine.searcher(None, 0), chosen)
            for selectivity in SELECTIVITIES:
                bound = max(1, round(n * selectivity / 100))
                rows = np.flatnonzero(fields[field] < bound)
                wanted = min(K, len(rows))
                found, qps = timed(engine.searcher(field, bound), chosen)
                hits = 0
                for query, ids in zip(chosen, found):
                    all_of = distances(metric, query, base[rows])
                    limit = np.partition(all_of, wanted - 1)[wanted - 1] * (1 + 1e-5) + 1e-6
                    ids = np.asarray([row for row in ids], dtype=np.int64)
                    hits += int((distances(metric, query, base[ids]) <= limit).sum()) if len(ids) else 0
                line = {
                    "engine": name, "selectivity": selectivity, "correlation": correlation,
                    "recall": hits / (wanted * count), "short": sum(len(ids) < wanted for ids in found),
                    "qps": round(qps, 1), "qps_unfiltered": round(unfiltered, 1), "n": n, "ef": args.ef,
                }
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
