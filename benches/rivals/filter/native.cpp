// Other engines' filters as their C++ has them, for filter.py: one thread, a predicate that is a look into a table.
//
// c++ -O3 -march=native -ffast-math -shared -fPIC -I hnswlib-0.8.0 -I usearch-2.26.6/include native.cpp -o native.so
//
// hnswlib: the folder of its PyPI package's source; usearch: that of its crates.io package, without its SIMD library (the compiler's own
// vector code does the distances, as in hnswlib's fallback).

#include <cstdint>
#include <thread>
#include <vector>

#include <hnswlib/hnswlib.h>
#include <usearch/index_dense.hpp>

namespace {

struct Below : hnswlib::BaseFilterFunctor {
    const int64_t *field;
    int64_t bound;
    bool operator()(hnswlib::labeltype row) override { return field[row] < bound; }
};

template <typename Add> void on_threads(uint64_t rows, unsigned threads, Add add) {
    std::vector<std::thread> all;
    for (unsigned thread = 0; thread < threads; ++thread)
        all.emplace_back([=] {
            for (uint64_t row = thread; row < rows; row += threads) add(row, thread);
        });
    for (auto &thread : all) thread.join();
}

using usearch_t = unum::usearch::index_dense_t;

} // namespace

extern "C" {

void *hnswlib_open(int is_l2, uint64_t dim, uint64_t rows, const float *base, const char *path, unsigned threads) {
    hnswlib::SpaceInterface<float> *space;
    if (is_l2) space = new hnswlib::L2Space(dim);
    else space = new hnswlib::InnerProductSpace(dim);
    using Index = hnswlib::HierarchicalNSW<float>;
    if (FILE *file = fopen(path, "rb")) {
        fclose(file);
        return new Index(space, path);
    }
    auto *index = new Index(space, rows, 16, 200);
    on_threads(rows, threads, [=](uint64_t row, unsigned) { index->addPoint(base + row * dim, row); });
    index->saveIndex(path);
    return index;
}

// Rows found, nearest last; field null: without a filter.
uint64_t hnswlib_search(void *handle, const float *query, uint64_t k, uint64_t ef, const int64_t *field, int64_t bound, uint64_t *out) {
    auto *index = static_cast<hnswlib::HierarchicalNSW<float> *>(handle);
    index->setEf(ef);
    Below below;
    below.field = field;
    below.bound = bound;
    auto found = index->searchKnn(query, k, field ? &below : nullptr);
    uint64_t count = 0;
    for (; !found.empty(); found.pop()) out[count++] = found.top().second;
    return count;
}

void *usearch_open(int is_l2, uint64_t dim, uint64_t rows, const float *base, const char *path, unsigned threads) {
    using namespace unum::usearch;
    auto kind = is_l2 ? metric_kind_t::l2sq_k : metric_kind_t::ip_k;
    metric_punned_t metric(dim, kind, scalar_kind_t::f32_k);
    auto *index = new usearch_t(std::move(usearch_t::make(metric, index_dense_config_t(16, 200, 128)).index));
    if (FILE *file = fopen(path, "rb")) {
        fclose(file);
        if (index->load(path)) return index;
        return nullptr;
    }
    if (!index->try_reserve(index_limits_t(rows, threads))) return nullptr;
    on_threads(rows, threads, [=](uint64_t row, unsigned thread) { index->add(row, base + row * dim, thread); });
    index->save(path);
    return index;
}

uint64_t usearch_search(void *handle, const float *query, uint64_t k, uint64_t ef, const int64_t *field, int64_t bound, uint64_t *out) {
    auto *index = static_cast<usearch_t *>(handle);
    index->change_expansion_search(ef);
    if (!field) {
        auto found = index->search(query, k);
        return found.dump_to(out);
    }
    auto found = index->filtered_search(query, k, [=](uint64_t row) { return field[row] < bound; });
    return found.dump_to(out);
}
}
