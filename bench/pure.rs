//! What each request costs before and besides the database: `cargo bench --bench pure`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use entity::api_key::{Environment, Role};
use tollgate::domain::{plain_key::PlainKey, segments};

fn plain_key(c: &mut Criterion) {
    let key = PlainKey::generate(Role::SubAccount, Environment::Live);
    let valid = key.reveal();
    let changed = format!("{}A", &valid[..valid.len() - 1]);
    let changed =
        if changed == valid { format!("{}B", &valid[..valid.len() - 1]) } else { changed };
    let mut group = c.benchmark_group("PlainKey::parse");
    for (name, text) in [("valid", valid), ("wrong checksum", &changed), ("junk", "Bearer x")] {
        group.bench_function(name, |b| b.iter(|| PlainKey::parse(black_box(text))));
    }
    group.finish();
}

fn segments(c: &mut Criterion) {
    let mut group = c.benchmark_group("segments::count");
    for (name, text) in [
        ("GSM-7, 20 characters", "Your code is 123456.".to_owned()),
        ("GSM-7, 1600 characters", "0123456789".repeat(160)),
        ("UCS-2, 70 characters", "ж".repeat(70)),
    ] {
        group.bench_function(name, |b| b.iter(|| segments::count(black_box(&text))));
    }
    group.finish();
}

// The verdict on a send belongs here: a function like those above, named in the list below.
criterion_group!(benches, plain_key, segments);
criterion_main!(benches);
