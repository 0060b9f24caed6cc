//! How long it takes to read and to plan large Dockerfiles, and those that are made to hurt:
//! `cargo run --release -p builder --example language`. The figures are in docs/benchmarks.md.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::time::{Duration, Instant};

use builder::dockerfile::parse;
use builder::plan::{Images, plan};
use builder::request::{BuildRequest, DockerfileText};
use store::tree::Timestamp;

fn main() {
    let stages: String =
        (1..1000).map(|n| format!("FROM s{} AS s{n}\nCOPY --from=s{} /a /b\nRUN x\n", n - 1, n / 2)).collect();
    let rows = [
        ("10,000 lines", lines(10_000)),
        ("1,000 stages", format!("FROM scratch AS s0\n{stages}")),
        ("one line of 10 MB", format!("FROM scratch\nRUN {}\n", "x ".repeat(5 << 20))),
        ("one ENV of 2.5 MB", format!("FROM scratch\nENV {}\n", "a=b ".repeat(10 << 16))),
        ("100,000 continuations", format!("FROM scratch\nRUN x{}\n", " \\\n  && y".repeat(100_000))),
        ("100,000 ARGs", format!("FROM scratch\n{}", numbered("ARG a", 100_000))),
        ("100,000 ARGs before FROM", format!("{}FROM scratch\n", numbered("ARG a", 100_000))),
        ("100,000 ENVs", format!("FROM scratch\n{}", numbered("ENV e", 100_000))),
        ("100,000 LABELs", format!("FROM scratch\n{}", numbered("LABEL l", 100_000))),
        ("${a:-${a:-...}}, 100,000 deep", format!("FROM scratch\nENV x={}\n", "${a:-".repeat(100_000))),
        ("100,000 heredocs", format!("FROM scratch\n{}", "COPY <<E /\nx\nE\n".repeat(100_000))),
    ];
    println!("{:<32}{:>10}{:>12}{:>12}", "file", "bytes", "parse", "plan");
    for (name, text) in rows {
        let (read, planned) = (0..3).map(|_| measure(&text)).min().expect("three times");
        let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        println!("{name:<32}{:>10}{:>12}{:>12}", text.len(), milliseconds(read), milliseconds(planned));
    }
}

fn lines(count: usize) -> String {
    let kinds = ["RUN apt-get install -y package && rm -rf /tmp/x", "ENV A=b C=\"d $A\"", "COPY --chown=1:2 a b /c/"];
    let body: String = (1..count).map(|n| format!("{}\n", kinds[n % kinds.len()])).collect();
    format!("FROM scratch\n{body}")
}

fn numbered(start: &str, count: usize) -> String {
    (0..count).map(|n| format!("{start}{n}=$a{}x\n", n / 2)).collect()
}

/// Parsing, then planning what could be parsed. A refusal is an answer, too.
fn measure(text: &str) -> (Duration, Duration) {
    let start = Instant::now();
    let parsed = parse(text.as_bytes());
    let read = start.elapsed();
    let request = BuildRequest::new(DockerfileText { name: "Dockerfile".into(), bytes: Vec::new() });
    let start = Instant::now();
    let _ = std::hint::black_box(plan(&parsed.dockerfile, &request, None, &Images::new(), Timestamp::from_secs(0)));
    (read, start.elapsed())
}
