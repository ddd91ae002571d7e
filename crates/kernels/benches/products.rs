//! Products with packed weights at GPT-2 small's shapes: `cargo bench -p microtome-kernels`.
//!
//! Rows of the left matrix by rows; divan's throughput is in multiply-adds. The first line says what the
//! processor can do at most: multiply-adds that wait for nothing, on all threads.

use divan::Bencher;
use divan::counter::ItemsCount;
use microtome_kernels::{
    Gelu, InstructionSet, Matrix, PackedMatrix, Precision, Then, linear, linear_input_gradient_of,
    linear_weight_gradient, peak_gflops,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    println!("{}: at most {:.0} GFLOP/s", InstructionSet::current(), peak_gflops());
    divan::main();
}

const ROWS: [usize; 8] = [1, 8, 16, 20, 64, 240, 1000, 2304];

fn bench(bencher: Bencher, rows: usize, d_in: usize, d_out: usize, precision: Precision, then: Then) {
    let noise = |n: usize| -> Vec<f32> { (0..n).map(|i| (i * 7919 % 1013) as f32 / 506.0 - 1.0).collect() };
    let (x, w, b) = (noise(rows * d_in), noise(d_in * d_out), noise(d_out));
    let w = PackedMatrix::new(Matrix::dense(&w, d_in, d_out), precision);
    bencher
        .counter(ItemsCount::new(rows * d_in * d_out))
        .bench(|| linear(Matrix::dense(&x, rows, d_in), &w, 0..d_out, &b, then));
}

#[divan::bench(args = ROWS)]
fn qkv(bencher: Bencher, rows: usize) {
    bench(bencher, rows, 768, 2304, Precision::F32, Then::Keep);
}

#[divan::bench(args = ROWS)]
fn mlp_in_and_gelu(bencher: Bencher, rows: usize) {
    bench(bencher, rows, 768, 3072, Precision::F32, Then::Gelu(Gelu::ByTanh));
}

#[divan::bench(args = ROWS)]
fn mlp_out(bencher: Bencher, rows: usize) {
    bench(bencher, rows, 3072, 768, Precision::F32, Then::Keep);
}

#[divan::bench(args = [1, 12, 144])]
fn unembedding(bencher: Bencher, rows: usize) {
    bench(bencher, rows, 768, 50257, Precision::F32, Then::Keep);
}

#[divan::bench(args = [1, 12, 144])]
fn unembedding_bf16(bencher: Bencher, rows: usize) {
    bench(bencher, rows, 768, 50257, Precision::Bf16, Then::Keep);
}

/// Rows, inputs and outputs of a linear map that learns: a batch of 12 windows of 128 positions at width 384, one of 64 at 128.
const LEARNING: [(usize, usize, usize); 5] =
    [(1536, 384, 1536), (1536, 1536, 384), (1536, 384, 384), (768, 128, 512), (768, 512, 128)];

/// A product of rows, a weight and derivatives, of these sizes.
type Learning = fn(&[f32], &[f32], &[f32], (usize, usize, usize)) -> Vec<f32>;

fn bench_learning(bencher: Bencher, (rows, d_in, d_out): (usize, usize, usize), of: Learning) {
    let noise = |n: usize| -> Vec<f32> { (0..n).map(|i| (i * 7919 % 1013) as f32 / 506.0 - 1.0).collect() };
    let (x, w, dy) = (noise(rows * d_in), noise(d_in * d_out), noise(rows * d_out));
    bencher.counter(ItemsCount::new(rows * d_in * d_out)).bench(|| of(&x, &w, &dy, (rows, d_in, d_out)));
}

#[divan::bench(args = LEARNING)]
fn learning_forward(bencher: Bencher, sizes: (usize, usize, usize)) {
    bench_learning(bencher, sizes, |x, w, _, (rows, d_in, d_out)| {
        let w = PackedMatrix::new(Matrix::dense(w, d_in, d_out), Precision::F32);
        linear(Matrix::dense(x, rows, d_in), &w, 0..d_out, &vec![0.0; d_out], Then::Keep)
    });
}

#[divan::bench(args = LEARNING)]
fn learning_input_gradient(bencher: Bencher, sizes: (usize, usize, usize)) {
    bench_learning(bencher, sizes, |_, w, dy, (rows, d_in, d_out)| {
        linear_input_gradient_of(Matrix::dense(w, d_in, d_out), Matrix::dense(dy, rows, d_out))
    });
}

#[divan::bench(args = LEARNING)]
fn learning_weight_gradient(bencher: Bencher, sizes: (usize, usize, usize)) {
    bench_learning(bencher, sizes, |x, _, dy, (rows, d_in, d_out)| {
        linear_weight_gradient(Matrix::dense(x, rows, d_in), dy, d_out)
    });
}
