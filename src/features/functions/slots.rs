//! Places for running calls (contract 05 §4.4): so many for a project, so many for the box, and a bounded line.
//!
//! Who waits is served in turns, project by project, so that one project with a long line does not keep the others
//! waiting. Calls that functions make to this box are counted apart for each depth: a parent waits for deeper calls
//! only, never for one that could wait for the parent, so no number of nested calls can lock up.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time};

use super::error::FunctionError;
use crate::common::ProjectId;

/// Deepest call of a function by a function.
pub(super) const MAX_DEPTH: u8 = 8;
/// Depths there are; each has places of its own.
pub const LEVELS: usize = MAX_DEPTH as usize + 1;

#[derive(Clone, Copy, Debug)]
pub(super) struct SlotLimits {
    pub per_project: usize,
    pub queued_per_project: usize,
    pub total: usize,
    pub patience: Duration,
}

pub(super) struct Slots {
    limits: SlotLimits,
    /// By depth.
    levels: Mutex<HashMap<u8, Level>>,
}

#[derive(Default)]
struct Level {
    running: usize,
    lanes: HashMap<ProjectId, Lane>,
    /// Projects with somebody waiting, each once; the first is served next.
    turns: VecDeque<ProjectId>,
}

#[derive(Default)]
struct Lane {
    running: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// The place of a running call; given back when dropped.
pub(super) struct Place {
    slots: Arc<Slots>,
    project: ProjectId,
    depth: u8,
}

impl Slots {
    pub fn new(limits: SlotLimits) -> Arc<Self> {
        let limits = SlotLimits { per_project: limits.per_project.max(1), total: limits.total.max(1), ..limits };
        Arc::new(Self { limits, levels: Mutex::default() })
    }

    /// A place, as soon as there is one.
    ///
    /// # Errors
    /// [`FunctionError::Busy`] when the line is full or the wait too long; [`FunctionError::Loop`] beyond
    /// [`MAX_DEPTH`].
    pub async fn take(self: &Arc<Self>, project: &ProjectId, depth: u8) -> Result<Place, FunctionError> {
        let waiter = {
            let mut levels = self.lock();
            if let Some(place) = self.take_now(&mut levels, project, depth)? {
                return Ok(place);
            }
            let level = levels.entry(depth).or_default();
            let lane = level.lanes.entry(project.clone()).or_default();
            lane.waiting.retain(|waiter| !waiter.is_closed());
            if lane.waiting.len() >= self.limits.queued_per_project {
                return Err(FunctionError::Busy);
            }
            let (sender, waiter) = oneshot::channel();
            lane.waiting.push_back(sender);
            if !level.turns.contains(project) {
                level.turns.push_back(project.clone());
            }
            waiter
        };
        // Who gives up drops the receiver; a place that was already on its way comes back by being dropped with it.
        match time::timeout(self.limits.patience, waiter).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(FunctionError::Busy),
        }
    }

    /// A place if one is free and nobody of the project waits.
    ///
    /// # Errors
    /// [`FunctionError::Loop`].
    pub fn try_take(self: &Arc<Self>, project: &ProjectId, depth: u8) -> Result<Option<Place>, FunctionError> {
        self.take_now(&mut self.lock(), project, depth)
    }

    fn take_now(
        self: &Arc<Self>,
        levels: &mut HashMap<u8, Level>,
        project: &ProjectId,
        depth: u8,
    ) -> Result<Option<Place>, FunctionError> {
        if depth > MAX_DEPTH {
            return Err(FunctionError::Loop { depth: MAX_DEPTH });
        }
        let level = levels.entry(depth).or_default();
        if level.running >= self.limits.total {
            return Ok(None);
        }
        let lane = level.lanes.entry(project.clone()).or_default();
        if lane.running >= self.limits.per_project || lane.waiting.iter().any(|waiter| !waiter.is_closed()) {
            return Ok(None);
        }
        lane.running += 1;
        level.running += 1;
        Ok(Some(self.place(project, depth)))
    }

    fn place(self: &Arc<Self>, project: &ProjectId, depth: u8) -> Place {
        Place { slots: Arc::clone(self), project: project.clone(), depth }
    }

    fn give_back(self: &Arc<Self>, project: &ProjectId, depth: u8) {
        let granted = {
            let mut levels = self.lock();
            let Some(level) = levels.get_mut(&depth) else { return };
            level.running = level.running.saturating_sub(1);
            if let Some(lane) = level.lanes.get_mut(project) {
                lane.running = lane.running.saturating_sub(1);
            }
            let granted = self.grant(level, depth);
            if level.lanes.get(project).is_some_and(|lane| lane.running == 0 && lane.waiting.is_empty()) {
                level.lanes.remove(project);
            }
            if level.lanes.is_empty() {
                levels.remove(&depth);
            }
            granted
        };
        // Outside the lock: a waiter that has gone drops its place, which comes back here.
        for (waiter, place) in granted {
            drop(waiter.send(place));
        }
    }

    /// Places for who waits, as far as there are any.
    fn grant(self: &Arc<Self>, level: &mut Level, depth: u8) -> Vec<(oneshot::Sender<Place>, Place)> {
        let mut granted = Vec::new();
        let mut passed = 0;
        while level.running < self.limits.total && passed < level.turns.len() {
            let Some(project) = level.turns.pop_front() else { break };
            let Some(lane) = level.lanes.get_mut(&project) else { continue };
            lane.waiting.retain(|waiter| !waiter.is_closed());
            if lane.waiting.is_empty() {
                continue;
            }
            if lane.running >= self.limits.per_project {
                level.turns.push_back(project);
                passed += 1;
                continue;
            }
            if let Some(waiter) = lane.waiting.pop_front() {
                lane.running += 1;
                level.running += 1;
                granted.push((waiter, self.place(&project, depth)));
            }
            if !lane.waiting.is_empty() {
                level.turns.push_back(project);
            }
            passed = 0;
        }
        granted
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u8, Level>> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let slots = Arc::clone(&self.slots);
        slots.give_back(&self.project, self.depth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(per_project: usize, queued: usize, total: usize) -> Arc<Slots> {
        let patience = Duration::from_millis(200);
        Slots::new(SlotLimits { per_project, queued_per_project: queued, total, patience })
    }

    fn project(name: &str) -> ProjectId {
        format!("prj_{name}").parse().unwrap()
    }

    fn is_busy(result: &Result<Place, FunctionError>) -> bool {
        matches!(result, Err(FunctionError::Busy))
    }

    #[tokio::test]
    async fn a_full_project_waits_and_a_full_line_is_busy_at_once() {
        let slots = slots(1, 1, 10);
        let first = slots.take(&project("a"), 0).await.unwrap();
        let waiting = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.take(&project("a"), 0).await }
        });
        tokio::task::yield_now().await;
        let started = std::time::Instant::now();
        assert!(is_busy(&slots.take(&project("a"), 0).await));
        assert!(started.elapsed() < Duration::from_millis(100));
        slots.take(&project("b"), 0).await.unwrap();
        drop(first);
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_waits_too_long_is_busy_and_leaves_no_trace() {
        let slots = slots(1, 4, 10);
        let held = slots.take(&project("a"), 0).await.unwrap();
        assert!(is_busy(&slots.take(&project("a"), 0).await));
        drop(held);
        drop(slots.take(&project("a"), 0).await.unwrap());
        assert!(slots.lock().is_empty());
    }

    #[tokio::test]
    async fn projects_take_turns_when_the_box_is_full() {
        let slots = slots(10, 10, 1);
        let held = slots.take(&project("a"), 0).await.unwrap();
        let (sender, mut served) = tokio::sync::mpsc::unbounded_channel();
        for name in ["a", "a", "a", "b", "c"] {
            let (slots, sender) = (Arc::clone(&slots), sender.clone());
            tokio::spawn(async move {
                let place = slots.take(&project(name), 0).await.unwrap();
                sender.send(name).unwrap();
                drop(place);
            });
            tokio::task::yield_now().await;
        }
        drop((held, sender));
        let mut order = Vec::new();
        while let Some(name) = served.recv().await {
            order.push(name);
        }
        assert_eq!(order, ["a", "b", "c", "a", "a"]);
    }

    #[tokio::test]
    async fn a_project_at_its_own_limit_does_not_block_the_others() {
        let slots = slots(1, 10, 2);
        let a = slots.take(&project("a"), 0).await.unwrap();
        let b = slots.take(&project("b"), 0).await.unwrap();
        let wait = |name: &'static str| {
            let slots = Arc::clone(&slots);
            tokio::spawn(async move { slots.take(&project(name), 0).await })
        };
        let (second_a, c) = (wait("a"), wait("c"));
        tokio::task::yield_now().await;
        drop(b);
        let c = c.await.unwrap().unwrap();
        assert!(is_busy(&second_a.await.unwrap()));
        drop((a, c));
        assert!(slots.lock().is_empty());
    }

    #[tokio::test]
    async fn nested_calls_have_places_of_their_own_and_an_end() {
        let slots = slots(1, 0, 1);
        let mut held = Vec::new();
        for depth in 0..=MAX_DEPTH {
            held.push(slots.take(&project("a"), depth).await.unwrap());
        }
        assert!(matches!(slots.take(&project("a"), MAX_DEPTH + 1).await, Err(FunctionError::Loop { .. })));
        assert!(slots.try_take(&project("a"), 0).unwrap().is_none());
        held.clear();
        assert!(slots.try_take(&project("a"), 0).unwrap().is_some());
    }

    #[tokio::test]
    async fn a_place_for_a_waiter_that_left_goes_to_the_next() {
        let slots = slots(1, 10, 1);
        let held = slots.take(&project("a"), 0).await.unwrap();
        let wait = || {
            let slots = Arc::clone(&slots);
            tokio::spawn(async move { slots.take(&project("a"), 0).await })
        };
        let (gone, stays) = (wait(), wait());
        tokio::task::yield_now().await;
        gone.abort();
        tokio::task::yield_now().await;
        drop(held);
        stays.await.unwrap().unwrap();
    }
}
