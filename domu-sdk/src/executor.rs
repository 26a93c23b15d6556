//! Tasks.
//!
//! One executor per vCPU polls futures; a task that waits costs nothing, and when nobody can go on the vCPU blocks in the
//! hypervisor until an event comes. [`run`] drives the main future and everything that [`spawn`] was given; [`block_on`] drives
//! one future alone.
//!
//! Wakers may be used from event handlers and on any vCPU: they only put a number into a queue, and kick the vCPU whose queue it is
//! if that is another one. Going to sleep closes the gap between "the
//! queue is empty" and "block": events are masked while the queue is looked at, and the hypervisor unmasks them and blocks in
//! one step.

use crate::{arch, sync::MaskedMutex, vcpu::MAX_VCPUS};
use alloc::{boxed::Box, collections::VecDeque, sync::Arc, task::Wake, vec::Vec};
use core::{
    future::Future,
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
};

/// A task as it is stored.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tasks that are new, for each vCPU.
static SPAWNED: [MaskedMutex<VecDeque<Task>>; MAX_VCPUS] =
    [const { MaskedMutex::new(VecDeque::new()) }; MAX_VCPUS];

/// Starts a task on this vCPU; it runs as soon as the current one waits. May be called from anywhere, even an event handler.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    SPAWNED[arch::vcpu_index()].lock().push_back(Box::pin(task));
}

/// Starts a task on a vCPU; it runs when that one comes to [`run`]. Panics if there can be no such vCPU.
pub fn spawn_on(vcpu: usize, task: impl Future<Output = ()> + Send + 'static) {
    SPAWNED[vcpu].lock().push_back(Box::pin(task));
    if vcpu != arch::vcpu_index() {
        crate::vcpu::kick(vcpu);
    }
}

/// Runs `main` and all spawned tasks until `main` is done.
pub fn run<F: Future>(main: F) -> F::Output {
    Executor::new().run(main, &mut take_spawned, &mut idle)
}

/// Runs one future to its end; other tasks stand still meanwhile.
pub fn block_on<F: Future>(future: F) -> F::Output {
    Executor::new().run(future, &mut || None, &mut idle)
}

fn take_spawned() -> Option<Task> {
    SPAWNED[arch::vcpu_index()].lock().pop_front()
}

/// Blocks unless `ready` says that there is work. `ready` is asked with events masked.
fn idle(ready: &dyn Fn() -> bool) {
    arch::block_unless(ready);
}

/// Lets the other tasks run once.
pub async fn yield_now() {
    let mut yielded = false;
    core::future::poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Number of the main future in the queue.
const MAIN: usize = usize::MAX;

/// Numbers of tasks that can go on, and the vCPU whose executor they belong to.
struct Queue {
    numbers: MaskedMutex<VecDeque<usize>>,
    home: usize,
}

impl Queue {
    /// Adds a task. An executor on another vCPU may be asleep, and is woken.
    fn push(&self, number: usize) {
        self.numbers.lock().push_back(number);
        if self.home != arch::vcpu_index() {
            crate::vcpu::kick(self.home);
        }
    }
}

/// Wakes one task: puts its number into the queue, once.
struct TaskWaker {
    number: usize,
    queued: AtomicBool,
    queue: Arc<Queue>,
}

impl TaskWaker {
    fn new(number: usize, queue: &Arc<Queue>) -> Arc<Self> {
        Arc::new(Self { number, queued: AtomicBool::new(false), queue: queue.clone() })
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.queue.push(self.number);
        }
    }
}

struct Slot {
    task: Task,
    waker: Arc<TaskWaker>,
}

/// Tasks by number, and the queue of those that can go on. Knows nothing of the machine.
pub(crate) struct Executor {
    slots: Vec<Option<Slot>>,
    queue: Arc<Queue>,
}

impl Executor {
    pub(crate) fn new() -> Self {
        let queue = Queue { numbers: MaskedMutex::default(), home: arch::vcpu_index() };
        Self { slots: Vec::new(), queue: Arc::new(queue) }
    }

    pub(crate) fn run<F: Future>(
        &mut self,
        main: F,
        spawned: &mut dyn FnMut() -> Option<Task>,
        idle: &mut dyn FnMut(&dyn Fn() -> bool),
    ) -> F::Output {
        let mut main = pin!(main);
        let main_waker = TaskWaker::new(MAIN, &self.queue);
        main_waker.wake_by_ref();
        loop {
            while let Some(task) = spawned() {
                self.adopt(task);
            }
            let next = self.queue.numbers.lock().pop_front();
            match next {
                Some(MAIN) => {
                    main_waker.queued.store(false, Ordering::Release);
                    let waker = Waker::from(main_waker.clone());
                    if let Poll::Ready(output) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                        return output;
                    }
                }
                Some(number) => self.poll(number),
                None => {
                    let queue = &self.queue;
                    idle(&|| {
                        !queue.numbers.lock().is_empty() || !SPAWNED[arch::vcpu_index()].lock().is_empty()
                    });
                }
            }
        }
    }

    fn adopt(&mut self, task: Task) {
        let free = self.slots.iter().position(Option::is_none);
        let number = free.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let waker = TaskWaker::new(number, &self.queue);
        waker.wake_by_ref();
        self.slots[number] = Some(Slot { task, waker });
    }

    fn poll(&mut self, number: usize) {
        // A late waker of a finished task may name an empty or a reused slot; an extra poll does no harm.
        let Some(Some(slot)) = self.slots.get_mut(number) else { return };
        slot.waker.queued.store(false, Ordering::Release);
        let waker = Waker::from(slot.waker.clone());
        if slot.task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.slots[number] = None;
        }
    }
}

/// A place for wakers of tasks that wait for the same thing.
#[derive(Debug, Default)]
pub struct WaitList(MaskedMutex<Vec<Waker>>);

impl WaitList {
    /// An empty list.
    pub const fn new() -> Self {
        Self(MaskedMutex::new(Vec::new()))
    }

    /// Adds the task behind `context`, unless it is there already.
    pub fn register(&self, context: &Context<'_>) {
        let mut wakers = self.0.lock();
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
    }

    /// Wakes and forgets everybody.
    pub fn wake_all(&self) {
        let wakers = core::mem::take(&mut *self.0.lock());
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Runs tasks on a host, for tests: what the main future gave, and how often nobody could go on.
#[cfg(test)]
pub(crate) fn run_tasks<F: Future>(main: F, tasks: Vec<Task>) -> (F::Output, usize) {
    let mut tasks = VecDeque::from(tasks);
    let mut idled = 0;
    let output = Executor::new().run(main, &mut || tasks.pop_front(), &mut |_| {
        idled += 1;
        assert!(idled < 100, "nobody can go on");
    });
    (output, idled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use core::sync::atomic::AtomicUsize;

    #[test]
    fn main_runs_to_its_end() {
        assert_eq!(run_tasks(async { 7 }, vec![]), (7, 0));
    }

    #[test]
    fn tasks_take_turns() {
        let log = Arc::new(MaskedMutex::new(Vec::new()));
        let tasks = (0..2)
            .map(|number| {
                let log = log.clone();
                Box::pin(async move {
                    for step in 0..2 {
                        log.lock().push((number, step));
                        yield_now().await;
                    }
                }) as Task
            })
            .collect();
        run_tasks(
            async {
                for _ in 0..4 {
                    yield_now().await;
                }
            },
            tasks,
        );
        assert_eq!(*log.lock(), [(0, 0), (1, 0), (0, 1), (1, 1)]);
    }

    #[test]
    fn waking_twice_polls_once() {
        let polls = Arc::new(AtomicUsize::new(0));
        let seen = polls.clone();
        let task = Box::pin(core::future::poll_fn(move |context: &mut Context<'_>| {
            if seen.fetch_add(1, Ordering::Relaxed) == 0 {
                context.waker().wake_by_ref();
                context.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        }));
        run_tasks(
            async {
                for _ in 0..5 {
                    yield_now().await;
                }
            },
            vec![task],
        );
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn waits_for_another_task() {
        let (list, done) = (Arc::new(WaitList::new()), Arc::new(AtomicBool::new(false)));
        let task = {
            let (list, done) = (list.clone(), done.clone());
            Box::pin(async move {
                yield_now().await;
                done.store(true, Ordering::Release);
                list.wake_all();
            })
        };
        let main = core::future::poll_fn(|context| {
            list.register(context);
            if done.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        });
        assert_eq!(run_tasks(main, vec![task]), ((), 0));
    }

    #[test]
    fn idles_when_nobody_can_go_on() {
        let mut polls = 0;
        let shared: Arc<MaskedMutex<Option<Waker>>> = Arc::default();
        let store = shared.clone();
        let main = core::future::poll_fn(move |context| {
            polls += 1;
            *store.lock() = Some(context.waker().clone());
            if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
        });
        let mut idled = 0;
        Executor::new().run(main, &mut || None, &mut |ready| {
            idled += 1;
            assert!(!ready());
            shared.lock().take().expect("registered").wake();
        });
        assert_eq!(idled, 2);
    }
}
