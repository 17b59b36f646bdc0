//! What to start and what to stop, as a function of what should run and what runs.

use super::desired::Workload;

/// What the plan needs to know of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Actual {
    /// Namespace and name of the workload that it was started for.
    pub(super) workload: (String, String),
    /// Hash of the template that it was made from.
    pub(super) template: u64,
    pub(super) phase: Phase,
    pub(super) ready: bool,
    /// Grows with every pod that is started.
    pub(super) serial: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Its process ended without being asked to.
    Dead,
    /// It was asked to end.
    Stopping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// One more pod of the workload at this index.
    Start(usize),
    /// End the pod at this index.
    Stop(usize),
    /// Strike the dead pod at this index off.
    Forget(usize),
}

/// The steps from what runs to what should run.
///
/// A dead pod keeps its place: nothing is started for it, until its workload is scaled or changed. A changed template
/// gets all its new pods first; the old ones go when these are ready.
pub(super) fn plan(desired: &[Workload], actual: &[Actual]) -> Vec<Action> {
    let mut actions = Vec::new();
    for (index, workload) in desired.iter().enumerate() {
        let template = workload.template.hash();
        let of_workload = |a: &&(usize, &Actual)| {
            a.1.workload.0 == workload.namespace && a.1.workload.1 == workload.name
        };
        let pods: Vec<_> = actual
            .iter()
            .enumerate()
            .filter(|(_, a)| a.phase != Phase::Stopping)
            .collect();
        let (mut current, old): (Vec<_>, Vec<_>) = pods
            .into_iter()
            .filter(|a| of_workload(&a))
            .partition(|(_, a)| a.template == template);
        let wanted = workload.replicas as usize;
        actions.extend((current.len()..wanted).map(|_| Action::Start(index)));
        if current.len() > wanted {
            // dead ones first, then those that are not ready yet, then the youngest
            current.sort_by_key(|(_, a)| {
                (a.phase != Phase::Dead, a.ready, std::cmp::Reverse(a.serial))
            });
            let surplus = current.len() - wanted;
            actions.extend(current.drain(..surplus).map(|(i, a)| removal(i, a)));
        }
        let all_ready = current.len() == wanted
            && current
                .iter()
                .all(|(_, a)| a.ready || a.phase == Phase::Dead);
        for (i, a) in old {
            if all_ready || a.phase == Phase::Dead {
                actions.push(removal(i, a));
            }
        }
    }
    for (i, a) in actual.iter().enumerate() {
        let is_wanted = |w: &Workload| w.namespace == a.workload.0 && w.name == a.workload.1;
        if a.phase != Phase::Stopping && !desired.iter().any(is_wanted) {
            actions.push(removal(i, a));
        }
    }
    actions
}

fn removal(index: usize, pod: &Actual) -> Action {
    match pod.phase {
        Phase::Dead => Action::Forget(index),
        _ => Action::Stop(index),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Folder;
    use crate::runner::{ImageTable, desired::desired};

    fn workload(replicas: u32, label: &str) -> Workload {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec:\n  replicas: {replicas}\n  template:\n    \
             metadata: {{labels: {{app: {label}}}}}\n    spec: {{containers: [{{name: c, image: x, command: [run]}}]}}\n"
        );
        std::fs::write(dir.path().join("a.yaml"), text).unwrap();
        let folder = Folder::open(dir.path(), "default").unwrap();
        let images = ImageTable::new(Path::new("m"));
        desired(&folder.config(), &images, Path::new("p"))
            .0
            .remove(0)
    }

    fn pod(workload: &Workload, serial: u64, phase: Phase, ready: bool) -> Actual {
        Actual {
            workload: (workload.namespace.clone(), workload.name.clone()),
            template: workload.template.hash(),
            phase,
            ready,
            serial,
        }
    }

    #[test]
    fn up_and_down() {
        let three = workload(3, "a");
        assert_eq!(
            plan(std::slice::from_ref(&three), &[]),
            [Action::Start(0); 3]
        );
        let pods: Vec<_> = (0..3)
            .map(|i| pod(&three, i, Phase::Running, true))
            .collect();
        assert_eq!(plan(std::slice::from_ref(&three), &pods), []);
        // the youngest goes first
        assert_eq!(plan(&[workload(2, "a")], &pods), [Action::Stop(2)]);
        assert_eq!(
            plan(&[], &pods),
            [Action::Stop(0), Action::Stop(1), Action::Stop(2)]
        );
    }

    #[test]
    fn the_dead_keep_their_place_and_go_first() {
        let two = workload(2, "a");
        let pods = [
            pod(&two, 0, Phase::Dead, false),
            pod(&two, 1, Phase::Running, true),
        ];
        assert_eq!(plan(std::slice::from_ref(&two), &pods), []);
        assert_eq!(plan(&[workload(1, "a")], &pods), [Action::Forget(0)]);
        assert_eq!(plan(&[workload(3, "a")], &pods), [Action::Start(0)]);
    }

    #[test]
    fn who_is_being_stopped_does_not_count() {
        let two = workload(2, "a");
        let pods = [
            pod(&two, 0, Phase::Running, true),
            pod(&two, 1, Phase::Stopping, false),
        ];
        assert_eq!(plan(&[two], &pods), [Action::Start(0)]);
    }

    #[test]
    fn a_new_template_takes_over_when_ready() {
        let (old, new) = (workload(1, "a"), workload(1, "b"));
        let mut pods = vec![pod(&old, 0, Phase::Running, true)];
        assert_eq!(plan(std::slice::from_ref(&new), &pods), [Action::Start(0)]);
        pods.push(pod(&new, 1, Phase::Running, false));
        assert_eq!(plan(std::slice::from_ref(&new), &pods), []);
        pods[1].ready = true;
        assert_eq!(plan(std::slice::from_ref(&new), &pods), [Action::Stop(0)]);
    }
}
