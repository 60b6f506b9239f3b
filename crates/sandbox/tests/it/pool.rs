//! How the pool treats its children, and what they may do to it.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use mnemosyne_documents::{Extractor, FileHint};
use mnemosyne_domain::FailureCode;
use mnemosyne_sandbox::{Sandbox, SandboxSettings};
use tempfile::TempDir;

pub(crate) type Test = fn() -> Pin<Box<dyn Future<Output = ()>>>;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("a_child_is_used_again", || Box::pin(a_child_is_used_again())),
    ("a_child_is_replaced_after_its_last_job", || {
        Box::pin(a_child_is_replaced_after_its_last_job())
    }),
    ("a_breakdown_costs_one_file", || {
        Box::pin(a_breakdown_costs_one_file())
    }),
    ("a_terminal_does_not_reach_a_child", || {
        Box::pin(a_terminal_does_not_reach_a_child())
    }),
    ("a_stopped_child_does_not_cost_its_file", || {
        Box::pin(a_stopped_child_does_not_cost_its_file())
    }),
    ("what_lasts_too_long_is_ended", || {
        Box::pin(what_lasts_too_long_is_ended())
    }),
    ("what_eats_memory_is_ended", || {
        Box::pin(what_eats_memory_is_ended())
    }),
    ("what_eats_processor_time_is_ended", || {
        Box::pin(what_eats_processor_time_is_ended())
    }),
    ("what_becomes_huge_is_refused", || {
        Box::pin(what_becomes_huge_is_refused())
    }),
    ("idle_children_go", || Box::pin(idle_children_go())),
    ("a_cancelled_file_ends_its_child", || {
        Box::pin(a_cancelled_file_ends_its_child())
    }),
    ("many_at_once_share_few_children", || {
        Box::pin(many_at_once_share_few_children())
    }),
    ("a_child_has_nothing_of_its_parent", || {
        Box::pin(a_child_has_nothing_of_its_parent())
    }),
    ("a_missing_file_is_said_to_be_so", || {
        Box::pin(a_missing_file_is_said_to_be_so())
    }),
    ("a_program_that_cannot_start_is_an_error", || {
        Box::pin(a_program_that_cannot_start_is_an_error())
    }),
];

pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) folder: TempDir,
}

pub(crate) fn settings() -> SandboxSettings {
    SandboxSettings {
        executable: std::env::current_exe().expect("a program has a path"),
        argument: "parse-child".to_owned(),
        children: 2,
        memory_bytes: 1024 * 1024 * 1024,
        wall: Duration::from_secs(60),
        cpu: Duration::from_secs(60),
        max_output_bytes: 32 * 1024 * 1024,
        max_jobs_per_child: 100,
        idle: Duration::from_secs(600),
    }
}

impl Bench {
    pub(crate) fn new(settings: SandboxSettings) -> Self {
        Self {
            sandbox: Sandbox::new(settings),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    }

    pub(crate) async fn read(&self, name: &str, bytes: &[u8]) -> Result<String, FailureCode> {
        let path = self.file(name, bytes);
        let hint = FileHint {
            filename: name.to_owned(),
            content_type: None,
        };
        let result = self.sandbox.extract(&path, &hint).await;
        result
            .map(|document| document.text)
            .map_err(|failure| failure.code)
    }
}

async fn a_child_is_used_again() {
    let bench = Bench::new(settings());
    let first = bench.read("a", b"who").await.expect("read");
    let real = bench.read("b.md", b"# Title\n\ntext").await.expect("read");
    assert_eq!(real, "Title\n\ntext");
    assert_eq!(bench.read("c", b"who").await.as_ref(), Ok(&first));
    assert_ne!(first, std::process::id().to_string());
    assert_eq!(bench.read("d", b"print").await.as_deref(), Ok("printed"));
    assert_eq!(bench.read("e", b"who").await.as_ref(), Ok(&first));
}

async fn a_child_is_replaced_after_its_last_job() {
    let bench = Bench::new(SandboxSettings {
        max_jobs_per_child: 2,
        ..settings()
    });
    let first = bench.read("a", b"who").await;
    assert_eq!(bench.read("b", b"who").await, first);
    assert_ne!(bench.read("c", b"who").await, first);
}

async fn a_breakdown_costs_one_file() {
    let bench = Bench::new(settings());
    for (order, code) in [
        (&b"panic"[..], FailureCode::ParserCrashed),
        (b"abort", FailureCode::ParserCrashed),
        (b"exit", FailureCode::ParserCrashed),
        (b"recurse", FailureCode::ParserLimit),
    ] {
        assert_eq!(
            bench.read("x", order).await,
            Err(code),
            "{}",
            String::from_utf8_lossy(order)
        );
        assert!(bench.read("y", b"who").await.is_ok());
    }
}

async fn a_terminal_does_not_reach_a_child() {
    let bench = Bench::new(settings());
    assert_eq!(bench.read("x", b"group").await.as_deref(), Ok("true"));
}

async fn a_stopped_child_does_not_cost_its_file() {
    let bench = Bench::new(settings());
    let path = bench.file("order", b"stopped once");
    let hint = FileHint {
        filename: bench.folder.path().join("mark").to_string_lossy().into_owned(),
        content_type: None,
    };
    let document = bench.sandbox.extract(&path, &hint).await.expect("read");
    assert_eq!(document.text, "read by another child");
    // One that stops every child is not tried for ever.
    assert_eq!(bench.read("x", b"stopped").await, Err(FailureCode::ParserCrashed));
    assert!(bench.read("y", b"who").await.is_ok());
}

async fn what_lasts_too_long_is_ended() {
    let bench = Bench::new(SandboxSettings {
        wall: Duration::from_millis(300),
        ..settings()
    });
    assert_eq!(bench.read("x", b"sleep").await, Err(FailureCode::ParserLimit));
    assert_eq!(bench.sandbox.idle_children(), 0);
}

async fn what_eats_memory_is_ended() {
    let bench = Bench::new(SandboxSettings {
        memory_bytes: 400 * 1024 * 1024,
        ..settings()
    });
    assert_eq!(bench.read("x", b"memory").await, Err(FailureCode::ParserLimit));
    assert!(bench.read("y", b"who").await.is_ok());
}

async fn what_eats_processor_time_is_ended() {
    let bench = Bench::new(SandboxSettings {
        cpu: Duration::from_secs(1),
        ..settings()
    });
    // Each file has the whole allowance, however many came before it in the same child.
    for _ in 0..3 {
        assert!(bench.read("y", b"who").await.is_ok());
    }
    assert_eq!(bench.read("x", b"spin").await, Err(FailureCode::ParserLimit));
}

async fn what_becomes_huge_is_refused() {
    let bench = Bench::new(settings());
    assert_eq!(bench.read("x", b"output").await, Err(FailureCode::ParserLimit));
    assert!(bench.read("y", b"who").await.is_ok());
}

async fn idle_children_go() {
    let bench = Bench::new(SandboxSettings {
        idle: Duration::from_millis(50),
        ..settings()
    });
    let process: u32 = bench
        .read("x", b"who")
        .await
        .expect("read")
        .parse()
        .expect("a number");
    wait_until_gone(process).await;
    assert_eq!(bench.sandbox.idle_children(), 0);
    assert!(bench.read("y", b"who").await.is_ok());
}

async fn a_cancelled_file_ends_its_child() {
    let bench = Bench::new(SandboxSettings {
        children: 1,
        ..settings()
    });
    let process: u32 = bench
        .read("x", b"who")
        .await
        .expect("read")
        .parse()
        .expect("a number");
    let path = bench.file("z", b"sleep");
    let hint = FileHint::default();
    // The one child takes the file, and the caller loses patience.
    let waited = tokio::time::timeout(Duration::from_millis(100), bench.sandbox.extract(&path, &hint)).await;
    assert!(waited.is_err());
    wait_until_gone(process).await;
    assert!(bench.read("y", b"who").await.is_ok());
}

async fn many_at_once_share_few_children() {
    let bench = Bench::new(settings());
    let names: Vec<String> = (0..24).map(|number| format!("{number}.txt")).collect();
    let who = async |name: &str| bench.read(name, b"who").await.expect("read");
    let mut processes = std::collections::BTreeSet::new();
    let mut waiting = Vec::new();
    for name in &names {
        waiting.push(Box::pin(who(name)));
    }
    for one in join_all(waiting).await {
        processes.insert(one);
    }
    assert!((1..=2).contains(&processes.len()), "{processes:?}");
    assert!(bench.sandbox.idle_children() <= 2);
}

async fn a_child_has_nothing_of_its_parent() {
    let bench = Bench::new(settings());
    let names = bench.read("x", b"environment").await.expect("read");
    assert_eq!(names.split(',').count(), 2, "{names}");
    let target = bench.folder.path().join("written").to_string_lossy().into_owned();
    let path = bench.file("order", b"write");
    let hint = FileHint {
        filename: target.clone(),
        content_type: None,
    };
    // The signal for a file grown too large ends the child, or the write fails; nothing is written either way.
    let _ = bench.sandbox.extract(&path, &hint).await;
    assert_eq!(std::fs::read(&target).unwrap_or_default(), b"");
}

async fn a_missing_file_is_said_to_be_so() {
    let bench = Bench::new(settings());
    let failure = bench
        .sandbox
        .extract(&bench.folder.path().join("none"), &FileHint::default())
        .await
        .expect_err("missing");
    assert_eq!(failure.code, FailureCode::SourceUnavailable);
    assert!(!failure.message.contains('/'), "{}", failure.message);
}

async fn a_program_that_cannot_start_is_an_error() {
    let bench = Bench::new(SandboxSettings {
        executable: PathBuf::from("/nowhere/at/all"),
        ..settings()
    });
    assert_eq!(bench.read("x", b"who").await, Err(FailureCode::Internal));
}

async fn wait_until_gone(process: u32) {
    // A dead child whose parent has not noticed yet is a zombie: as good as gone.
    let alive = || {
        std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| {
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']))
        })
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while alive() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("the child goes");
}

async fn join_all<F: Future>(futures: Vec<Pin<Box<F>>>) -> Vec<F::Output> {
    let mut pending: Vec<Option<Pin<Box<F>>>> = futures.into_iter().map(Some).collect();
    let mut done: Vec<Option<F::Output>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (slot, result) in pending.iter_mut().zip(done.iter_mut()) {
            if let Some(future) = slot
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *result = Some(output);
                *slot = None;
            }
        }
        if pending.iter().all(Option::is_none) {
            std::task::Poll::Ready(done.iter_mut().filter_map(Option::take).collect())
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}
