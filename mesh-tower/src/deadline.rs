//! One coarse timer per thread and runtime instead of a `tokio::time::sleep` per request.
//!
//! A wheel of 1 ms places holds the deadlines of all streams; one task with one sleep fires them. Arming and disarming
//! are a few words each and allocate nothing once the wheel has grown to the number of streams. The lock is held for
//! those few words only, and each thread has its own wheel, so that nobody waits for it.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{runtime, time::Sleep};

use crate::clock::Moment;

const SLOTS: usize = 4096;
const NIL: u32 = u32::MAX;
const TICK: u64 = 1_000_000;

/// One stream's place in the wheel: at most one deadline, the earliest of all that hold for it.
#[derive(Debug, Default)]
pub(crate) struct Timer(Option<Entry>);

#[derive(Debug)]
struct Entry {
    wheel: Arc<Wheel>,
    key: u32,
}

impl Timer {
    /// Wakes the waker at `at` or up to 2 ms later, never before; replaces what was armed. Outside a tokio runtime
    /// nothing wakes: deadlines are then seen when the stream is polled for another reason.
    pub(crate) fn arm(&mut self, at: Moment, waker: &Waker) {
        if self.0.is_none() {
            let Some(wheel) = Wheel::current() else {
                return;
            };
            let key = wheel.lock().acquire();
            self.0 = Some(Entry { wheel, key });
        }
        if let Some(entry) = &self.0 {
            entry.wheel.arm(entry.key, at, waker);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(entry) = &self.0 {
            // Dropping a waker may drop a task, and with it timers: never under the lock.
            let waker = entry.wheel.lock().release(entry.key);
            drop(waker);
        }
    }
}

#[derive(Debug)]
struct Wheel {
    base: Moment,
    places: Mutex<Places>,
}

#[derive(Debug)]
struct Places {
    nodes: Vec<Node>,
    free: u32,
    /// First node of each tick modulo the number of slots.
    slots: Box<[u32]>,
    /// Which slots have nodes.
    occupied: [u64; SLOTS / 64],
    /// All ticks up to here have been fired.
    fired: u64,
    /// When the driver wakes by itself.
    next: u64,
    driver: Option<Waker>,
}

#[derive(Debug)]
struct Node {
    at: u64,
    previous: u32,
    next: u32,
    linked: bool,
    waker: Option<Waker>,
}

impl Wheel {
    /// The wheel of this thread for the current runtime; None outside a runtime.
    fn current() -> Option<Arc<Self>> {
        thread_local! {
            static CURRENT: RefCell<Option<(runtime::Id, Arc<Wheel>)>> = const { RefCell::new(None) };
        }
        let handle = runtime::Handle::try_current().ok()?;
        let id = handle.id();
        CURRENT.with_borrow_mut(|current| {
            if let Some((of, wheel)) = current
                && *of == id
            {
                return Some(Arc::clone(wheel));
            }
            let wheel = Arc::new(Self {
                base: Moment::now(),
                places: Mutex::new(Places::new()),
            });
            handle.spawn(Driver {
                wheel: Arc::downgrade(&wheel),
                sleep: None,
                due: Vec::new(),
            });
            *current = Some((id, Arc::clone(&wheel)));
            Some(wheel)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick_of(&self, at: Moment) -> u64 {
        at.nanos().saturating_sub(self.base.nanos()).div_ceil(TICK)
    }

    fn arm(&self, key: u32, at: Moment, waker: &Waker) {
        let tick = self.tick_of(at);
        let mut places = self.lock();
        let replaced = places.set_waker(key, waker);
        let driver = places.arm(key, tick);
        drop(places);
        drop(replaced);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Takes the wakers of all ticks up to now; returns when to come back.
    fn fire(&self, now: Moment, driver: &Waker, due: &mut Vec<Waker>) -> Option<Moment> {
        let tick = now.nanos().saturating_sub(self.base.nanos()) / TICK;
        let mut places = self.lock();
        places.fire(tick, due);
        let next = places.first_occupied();
        places.next = next.unwrap_or(u64::MAX);
        let replaced = places.driver.replace(driver.clone());
        drop(places);
        drop(replaced);
        next.map(|tick| {
            self.base
                .after(Duration::from_nanos(tick.saturating_mul(TICK)))
        })
    }
}

impl Drop for Wheel {
    fn drop(&mut self) {
        if let Some(driver) = self.lock().driver.take() {
            driver.wake();
        }
    }
}

impl Places {
    fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: NIL,
            slots: vec![NIL; SLOTS].into(),
            occupied: [0; SLOTS / 64],
            fired: 0,
            next: u64::MAX,
            driver: None,
        }
    }

    fn node(&mut self, key: u32) -> &mut Node {
        &mut self.nodes[key as usize]
    }

    fn acquire(&mut self) -> u32 {
        if self.free != NIL {
            let key = self.free;
            self.free = self.node(key).next;
            return key;
        }
        self.nodes.push(Node {
            at: 0,
            previous: NIL,
            next: NIL,
            linked: false,
            waker: None,
        });
        (self.nodes.len() - 1) as u32
    }

    fn release(&mut self, key: u32) -> Option<Waker> {
        self.unlink(key);
        let free = self.free;
        let node = self.node(key);
        node.next = free;
        let waker = node.waker.take();
        self.free = key;
        waker
    }

    /// Returns the waker that was there before, if it was another.
    fn set_waker(&mut self, key: u32, waker: &Waker) -> Option<Waker> {
        let node = self.node(key);
        if node.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
            return None;
        }
        node.waker.replace(waker.clone())
    }

    /// Links the node at a tick; returns the driver if it would sleep too long.
    fn arm(&mut self, key: u32, tick: u64) -> Option<Waker> {
        let tick = tick.max(self.fired + 1);
        let node = self.node(key);
        if node.linked && node.at == tick {
            return None;
        }
        self.unlink(key);
        let slot = slot_of(tick);
        let head = self.slots[slot];
        if head != NIL {
            self.node(head).previous = key;
        }
        let node = self.node(key);
        node.at = tick;
        node.previous = NIL;
        node.next = head;
        node.linked = true;
        self.slots[slot] = key;
        self.occupied[slot / 64] |= 1 << (slot % 64);
        if tick < self.next {
            self.next = tick;
            return self.driver.take();
        }
        None
    }

    fn unlink(&mut self, key: u32) {
        let node = self.node(key);
        if !node.linked {
            return;
        }
        node.linked = false;
        let (at, previous, next) = (node.at, node.previous, node.next);
        if next != NIL {
            self.node(next).previous = previous;
        }
        if previous == NIL {
            let slot = slot_of(at);
            self.slots[slot] = next;
            if next == NIL {
                self.occupied[slot / 64] &= !(1 << (slot % 64));
            }
        } else {
            self.node(previous).next = next;
        }
    }

    fn fire(&mut self, now: u64, due: &mut Vec<Waker>) {
        if now <= self.fired {
            return;
        }
        let ticks = (now - self.fired).min(SLOTS as u64);
        for tick in now - ticks + 1..=now {
            let slot = slot_of(tick);
            if self.occupied[slot / 64] & (1 << (slot % 64)) == 0 {
                continue;
            }
            let mut key = self.slots[slot];
            while key != NIL {
                let node = self.node(key);
                let (at, next) = (node.at, node.next);
                if at <= now {
                    let waker = node.waker.take();
                    self.unlink(key);
                    due.extend(waker);
                }
                key = next;
            }
        }
        self.fired = now;
    }

    /// The next tick whose slot has nodes. Those may be of a later round: then the driver wakes once for nothing.
    fn first_occupied(&self) -> Option<u64> {
        let start = self.fired + 1;
        let first = slot_of(start);
        let words = self.occupied.len();
        // One word more than there are: the bits of the first word below `first` belong to the end.
        (0..=words).find_map(|i| {
            let word = (first / 64 + i) % words;
            let mut bits = self.occupied[word];
            if i == 0 {
                bits &= u64::MAX << (first % 64);
            } else if i == words {
                bits &= !(u64::MAX << (first % 64));
            }
            (bits != 0).then(|| {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                start + ((slot + SLOTS - first) % SLOTS) as u64
            })
        })
    }
}

fn slot_of(tick: u64) -> usize {
    (tick % SLOTS as u64) as usize
}

/// The task that fires a wheel; ends with the wheel.
struct Driver {
    wheel: Weak<Wheel>,
    sleep: Option<Pin<Box<Sleep>>>,
    due: Vec<Waker>,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let Some(wheel) = this.wheel.upgrade() else {
                return Poll::Ready(());
            };
            let next = wheel.fire(Moment::now(), cx.waker(), &mut this.due);
            drop(wheel);
            this.due.drain(..).for_each(Waker::wake);
            let Some(next) = next else {
                return Poll::Pending;
            };
            let next = tokio::time::Instant::from_std(next.instant());
            let sleep = match &mut this.sleep {
                Some(sleep) => {
                    sleep.as_mut().reset(next);
                    sleep
                }
                none => none.insert(Box::pin(tokio::time::sleep_until(next))),
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Wake};

    use super::*;

    async fn wait(timer: &mut Timer, at: Moment) {
        poll_fn(|cx| {
            if Moment::now() >= at {
                return Poll::Ready(());
            }
            timer.arm(at, cx.waker());
            Poll::Pending
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn fires_at_its_time_and_not_before() {
        for milliseconds in [1, 2, 63, 64, 65, 4095, 4096, 4097, 15_000, 3_600_000] {
            let start = Moment::now();
            let at = start.after(Duration::from_millis(milliseconds));
            wait(&mut Timer::default(), at).await;
            let waited = Moment::now().since(start);
            assert!(waited >= Duration::from_millis(milliseconds));
            assert!(
                waited <= Duration::from_millis(milliseconds + 2),
                "{waited:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_wakes_the_driver() {
        let start = Moment::now();
        let late = tokio::spawn(async move {
            wait(&mut Timer::default(), start.after(Duration::from_secs(10))).await;
            Moment::now().since(start)
        });
        tokio::task::yield_now().await;
        wait(&mut Timer::default(), start.after(Duration::from_millis(5))).await;
        assert!(Moment::now().since(start) <= Duration::from_millis(7));
        let late = late.await.expect("joined");
        assert!(late >= Duration::from_secs(10) && late < Duration::from_millis(10_002));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_timer_frees_its_place() {
        let waker = Waker::noop();
        let at = Moment::now().after(Duration::from_secs(1));
        let mut timers: Vec<Timer> = (0..100).map(|_| Timer::default()).collect();
        for timer in &mut timers {
            timer.arm(at, waker);
        }
        let wheel = Arc::clone(&timers[0].0.as_ref().expect("armed").wheel);
        assert_eq!(wheel.lock().nodes.iter().filter(|n| n.linked).count(), 100);
        timers.clear();
        let places = wheel.lock();
        assert!(places.occupied.iter().all(|w| *w == 0));
        assert!(places.slots.iter().all(|s| *s == NIL));
        drop(places);
        for _ in 0..100 {
            Timer::default().arm(at, waker);
        }
        assert_eq!(wheel.lock().nodes.len(), 100);
    }

    /// The last waker of a task drops the task: a timer in it takes the lock.
    #[tokio::test(start_paused = true)]
    async fn a_waker_that_owns_a_timer_is_not_dropped_under_the_lock() {
        struct Task(#[allow(dead_code)] Mutex<Timer>);
        impl Wake for Task {
            fn wake(self: Arc<Self>) {}
        }
        let at = Moment::now().after(Duration::from_secs(1));
        let owning = || {
            let mut inner = Timer::default();
            inner.arm(at, Waker::noop());
            Waker::from(Arc::new(Task(Mutex::new(inner))))
        };
        let mut timer = Timer::default();
        timer.arm(at, &owning());
        timer.arm(at, &owning());
        drop(timer);
        let mut due = Timer::default();
        due.arm(at, &owning());
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    #[test]
    fn without_a_runtime_nothing_is_armed() {
        let mut timer = Timer::default();
        timer.arm(Moment::now(), Waker::noop());
        assert!(timer.0.is_none());
    }
}
