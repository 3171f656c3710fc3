//! The same cases under criterion, for its statistics: `cargo bench -- 'l2/f32/384'`.

use criterion::{Criterion, criterion_group, criterion_main};

fn pairs(criterion: &mut Criterion) {
    for case in orthant_rivals_kernels::cases() {
        let mut group = criterion.benchmark_group(format!("{}/{}/{}", case.metric, case.element, case.dim));
        for contender in &case.contenders {
            group.bench_function(contender.name, |bencher| bencher.iter(|| (contender.run)()));
        }
        group.finish();
    }
}

criterion_group!(benches, pairs);
criterion_main!(benches);
