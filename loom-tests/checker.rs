//! The lock-order checker while several threads teach it at once.

use std::sync::Arc;

use lockmaster::runtime::lock_order::{Acquisition, Checker, ClassId, HeldSet, LockClass};

use crate::{model, thread};

/// A checker and so many classes.
fn checker<const CLASSES: usize>() -> (Arc<Checker>, [ClassId; CLASSES]) {
    let checker = Checker::with_capacity(CLASSES);
    let classes = [(); CLASSES].map(|()| checker.register(&LockClass::new("class")).unwrap());
    (Arc::new(checker), classes)
}

/// Takes one lock, then asks for the other. Whether the checker spoke up.
fn takes(checker: &Checker, first: ClassId, second: ClassId) -> bool {
    let mut held = HeldSet::of("somebody");
    held.push(Acquisition::new(first, 0));
    checker.attempt(&held, &Acquisition::new(second, 0)).is_some()
}

#[test]
fn of_two_halves_of_an_inversion_at_once_exactly_one_is_reported() {
    model("checker: two halves", || {
        let (checker, [a, b]) = checker();
        let other = Arc::clone(&checker);
        let half = thread::spawn(move || takes(&other, b, a));
        let spoke = takes(&checker, a, b);
        assert!(spoke ^ half.join().unwrap());
        assert_eq!((checker.edge_count(), checker.reports().len()), (1, 1));
    });
}

#[test]
fn of_three_thirds_of_a_cycle_at_once_exactly_one_is_reported() {
    model("checker: three thirds", || {
        let (checker, [a, b, c]) = checker();
        let thirds = [(a, b), (b, c)].map(|(first, second)| {
            let checker = Arc::clone(&checker);
            thread::spawn(move || takes(&checker, first, second))
        });
        let spoke = takes(&checker, c, a);
        let spoke = thirds.map(|third| third.join().unwrap()).into_iter().chain([spoke]);
        assert_eq!(spoke.filter(|spoke| *spoke).count(), 1);
        assert_eq!((checker.edge_count(), checker.reports().len()), (2, 1));
    });
}

#[test]
fn an_order_that_two_learn_at_once_is_learnt_once_and_known_afterwards() {
    model("checker: one order twice", || {
        let (checker, [a, b]) = checker();
        let other = Arc::clone(&checker);
        let same = thread::spawn(move || takes(&other, a, b) || takes(&other, a, b));
        assert!(!takes(&checker, a, b));
        assert!(!same.join().unwrap());
        assert_eq!(checker.edge_count(), 1);
        assert!(takes(&checker, b, a));
    });
}

#[test]
fn every_repetition_of_a_finding_is_counted() {
    model("checker: counts", || {
        let (checker, [a, b]) = checker();
        assert!(!takes(&checker, a, b));
        let other = Arc::clone(&checker);
        let repeated = thread::spawn(move || {
            takes(&other, b, a);
            takes(&other, b, a);
        });
        takes(&checker, b, a);
        repeated.join().unwrap();
        assert_eq!(checker.reports()[0].count(), 3);
    });
}

#[test]
fn an_exception_declared_while_it_is_needed_holds_from_then_on() {
    model("checker: exception against use", || {
        let (checker, [a, b]) = checker();
        assert!(!takes(&checker, a, b));
        let other = Arc::clone(&checker);
        let declares = thread::spawn(move || {
            other.allow(b, a, "tested");
            takes(&other, b, a)
        });
        takes(&checker, b, a);
        assert!(!declares.join().unwrap());
        assert!(!takes(&checker, b, a));
    });
}

#[test]
fn classes_registered_at_once_are_different_classes() {
    model("checker: registration", || {
        let checker = Arc::new(Checker::with_capacity(2));
        let other = Arc::clone(&checker);
        let theirs = thread::spawn(move || other.register(&LockClass::new("theirs")));
        let ours = checker.register(&LockClass::new("ours"));
        assert_ne!(theirs.join().unwrap(), ours);
        assert!(ours.is_some());
    });
}
