//! Who may start when: ready vertices on plain threads.
//!
//! The schedule knows nothing of what a vertex does. It starts each one once, after its inputs, on
//! at most `jobs` threads, lowest id first; after the first error, or when the build is cancelled,
//! it starts no more, waits for those that run, and gives the error back. The calling thread works
//! too and others are started only when there is something for them to do, so that a chain of hits
//! costs no thread.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use crate::graph::VertexId;
use crate::progress::Cancel;

/// Why a schedule did not come to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stopped<E> {
    /// A vertex failed: the first one that did.
    Failed(E),
    /// Somebody asked for it.
    Cancelled,
}

/// Works through a graph given as the inputs of each vertex, all of which come before it. Gives
/// what each came to, in the order of the vertices.
///
/// `stop` is what running vertices look at: it is set after the first error.
pub(super) fn run<T, E, W>(
    inputs: &[Vec<VertexId>],
    jobs: NonZeroUsize,
    stop: &Cancel,
    work: W,
) -> Result<Vec<T>, Stopped<E>>
where
    T: Clone + Send,
    E: Send,
    W: Fn(VertexId, &Done<'_, T, E>) -> Result<T, E> + Sync,
{
    let state = Mutex::new(State::new(inputs));
    let queue = Queue { dependents: &dependents(inputs), jobs, stop, state, changed: Condvar::new() };
    std::thread::scope(|scope| queue.work(scope, &work));
    let state = queue.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failed {
        Some(error) => Err(Stopped::Failed(error)),
        None if stop.is_cancelled() => Err(Stopped::Cancelled),
        None => Ok(state.results.into_iter().flatten().collect()),
    }
}

/// Gives a vertex what its inputs came to.
#[derive(Debug)]
pub(super) struct Done<'a, T, E>(&'a Mutex<State<T, E>>);

impl<T: Clone, E> Done<'_, T, E> {
    /// What an input came to.
    ///
    /// # Panics
    ///
    /// For a vertex that is no input of the one that asks.
    pub(super) fn get(&self, id: VertexId) -> T {
        lock(self.0).results[id.0 as usize].clone().expect("inputs are done before what needs them")
    }
}

#[derive(Debug)]
struct State<T, E> {
    /// How many inputs each vertex still waits for.
    waiting: Vec<usize>,
    ready: BTreeSet<VertexId>,
    results: Vec<Option<T>>,
    failed: Option<E>,
    running: usize,
    threads: usize,
}

struct Queue<'a, T, E> {
    /// Who waits for each vertex.
    dependents: &'a [Vec<VertexId>],
    jobs: NonZeroUsize,
    stop: &'a Cancel,
    state: Mutex<State<T, E>>,
    changed: Condvar,
}

impl<T, E> State<T, E> {
    fn new(inputs: &[Vec<VertexId>]) -> Self {
        let waiting: Vec<usize> = inputs.iter().map(Vec::len).collect();
        let ready = waiting.iter().enumerate().filter(|(_, count)| **count == 0).map(|(index, _)| id(index)).collect();
        let results = inputs.iter().map(|_| None).collect();
        Self { waiting, ready, results, failed: None, running: 0, threads: 1 }
    }
}

impl<T: Clone + Send, E: Send> Queue<'_, T, E> {
    fn work<'scope, 'env, W>(&'env self, scope: &'scope Scope<'scope, 'env>, work: &'env W)
    where
        W: Fn(VertexId, &Done<'_, T, E>) -> Result<T, E> + Sync,
    {
        while let Some(vertex) = self.next(|| {
            scope.spawn(move || self.work(scope, work));
        }) {
            let result = work(vertex, &Done(&self.state));
            self.finish(vertex, result);
        }
    }

    /// Waits for something to do; `None` when nothing will come. Calls for help if there is more.
    fn next(&self, spawn: impl Fn()) -> Option<VertexId> {
        let mut state = lock(&self.state);
        loop {
            if state.failed.is_some() || self.stop.is_cancelled() {
                return None;
            }
            if let Some(vertex) = state.ready.pop_first() {
                state.running += 1;
                if !state.ready.is_empty() && state.threads < self.jobs.get() {
                    state.threads += 1;
                    spawn();
                }
                return Some(vertex);
            }
            if state.running == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finish(&self, vertex: VertexId, result: Result<T, E>) {
        let mut state = lock(&self.state);
        state.running -= 1;
        match result {
            Ok(result) => {
                state.results[vertex.0 as usize] = Some(result);
                self.release(&mut state, vertex);
            }
            Err(error) => {
                state.failed.get_or_insert(error);
                self.stop.cancel();
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    fn release(&self, state: &mut State<T, E>, done: VertexId) {
        for vertex in &self.dependents[done.0 as usize] {
            let waiting = &mut state.waiting[vertex.0 as usize];
            *waiting -= 1;
            if *waiting == 0 {
                state.ready.insert(*vertex);
            }
        }
    }
}

fn dependents(inputs: &[Vec<VertexId>]) -> Vec<Vec<VertexId>> {
    let mut dependents = vec![Vec::new(); inputs.len()];
    for (index, inputs) in inputs.iter().enumerate() {
        for input in inputs {
            dependents[input.0 as usize].push(id(index));
        }
    }
    dependents
}

fn id(index: usize) -> VertexId {
    VertexId(u32::try_from(index).expect("fewer than four billion vertices"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    fn jobs(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    /// Any graph: each vertex has some of those before it as inputs.
    fn graph() -> impl Strategy<Value = Vec<Vec<VertexId>>> {
        proptest::collection::vec(any::<u16>(), 1..16).prop_map(|masks| {
            let inputs = |(index, mask): (usize, &u16)| (0..index).filter(|bit| mask >> bit & 1 == 1).map(id).collect();
            masks.iter().enumerate().map(inputs).collect()
        })
    }

    proptest! {
        #[test]
        fn every_vertex_runs_once_after_its_inputs(graph in graph(), threads in 1_usize..5) {
            let runs: Vec<AtomicUsize> = graph.iter().map(|_| AtomicUsize::new(0)).collect();
            let result = run(&graph, jobs(threads), &Cancel::default(), |vertex, done: &Done<'_, usize, ()>| {
                runs[vertex.0 as usize].fetch_add(1, Ordering::Relaxed);
                Ok(graph[vertex.0 as usize].iter().map(|input| done.get(*input) + 1).max().unwrap_or(0))
            }).unwrap();
            prop_assert!(runs.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            for (vertex, inputs) in graph.iter().enumerate() {
                prop_assert!(inputs.iter().all(|input| result[input.0 as usize] < result[vertex]));
            }
        }

        #[test]
        fn nothing_runs_that_needs_what_failed(graph in graph(), threads in 1_usize..5, bad in 0_usize..16) {
            let result = run(&graph, jobs(threads), &Cancel::default(), |vertex, done: &Done<'_, (), usize>| {
                graph[vertex.0 as usize].iter().for_each(|input| done.get(*input));
                if vertex.0 as usize == bad { Err(bad) } else { Ok(()) }
            });
            match result {
                Ok(all) => prop_assert!(all.len() <= bad),
                Err(stopped) => prop_assert_eq!(stopped, Stopped::Failed(bad)),
            }
        }
    }

    #[test]
    fn independent_vertices_run_at_once_and_no_more_than_allowed() {
        let graph = vec![Vec::new(); 8];
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        run(&graph, jobs(3), &Cancel::default(), |_, _: &Done<'_, (), ()>| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Long enough for a fourth to come, and until a third has come.
            std::thread::sleep(std::time::Duration::from_millis(20));
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while most.load(Ordering::SeqCst) < 3 && std::time::Instant::now() < deadline {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_cancelled_schedule_starts_nothing_more() {
        let graph = vec![vec![], vec![id(0)]];
        let cancel = Cancel::default();
        let count = AtomicUsize::new(0);
        let result = run(&graph, jobs(2), &cancel, |_, _: &Done<'_, (), ()>| {
            count.fetch_add(1, Ordering::SeqCst);
            cancel.cancel();
            Ok(())
        });
        assert_eq!((result, count.load(Ordering::SeqCst)), (Err(Stopped::Cancelled), 1));
    }
}
