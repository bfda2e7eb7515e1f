//! The addresses that a search tries, in an order in which no source of addresses keeps another one waiting: a name may have
//! many that lead nowhere, and strangers may announce as many places as they like. Pure.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::place::Place;

/// The sources of addresses in the order of their turns, and the addresses that this search has tried.
#[derive(Debug, Default)]
pub(super) struct AddressQueue {
    sources: VecDeque<Source>,
    tried: BTreeSet<SocketAddr>,
}

#[derive(Debug)]
struct Source {
    /// The places that were found, however many they are.
    is_found: bool,
    untried: VecDeque<Untried>,
}

#[derive(Debug)]
enum Untried {
    Address(SocketAddr),
    /// Its addresses are looked up when its turn comes.
    Place(Place),
}

impl AddressQueue {
    /// Begins a search, in which each of `first` is a source and has its turn before the places that were `found`. If the
    /// search before was cut off, it goes on with the places that it has left.
    pub(super) fn begin(&mut self, first: Vec<Vec<SocketAddr>>, found: Vec<Place>) {
        let left = self.sources.drain(..);
        let left = left.into_iter().find(|it| it.is_found);
        let left = left.filter(|it| !it.untried.is_empty());
        self.sources = first.into_iter().map(Source::of).collect();
        self.sources.push_back(left.unwrap_or_else(|| Source {
            is_found: true,
            untried: found.into_iter().map(Untried::Place).collect(),
        }));
        self.tried.clear();
    }

    /// Adds a source, which has the next turn.
    pub(super) fn add(&mut self, addresses: Vec<SocketAddr>) {
        self.sources.push_front(Source::of(addresses));
    }

    /// The next address that this search has not tried. Then it is the turn of the next source.
    pub(super) fn next(
        &mut self,
        addresses_of: impl Fn(&Place) -> Vec<SocketAddr>,
    ) -> Option<SocketAddr> {
        while let Some(mut source) = self.sources.pop_front() {
            while let Some(untried) = source.untried.pop_front() {
                match untried {
                    Untried::Place(place) => source.put_first(addresses_of(&place)),
                    Untried::Address(address) if self.tried.insert(address) => {
                        self.sources.push_back(source);
                        return Some(address);
                    }
                    Untried::Address(_) => {}
                }
            }
        }
        None
    }
}

impl Source {
    fn of(addresses: Vec<SocketAddr>) -> Self {
        Self {
            is_found: false,
            untried: addresses.into_iter().map(Untried::Address).collect(),
        }
    }

    fn put_first(&mut self, addresses: Vec<SocketAddr>) {
        for address in addresses.into_iter().rev() {
            self.untried.push_front(Untried::Address(address));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> SocketAddr {
        format!("192.0.2.{number}:5").parse().unwrap()
    }

    fn found(numbers: impl IntoIterator<Item = usize>) -> Vec<Place> {
        let places = numbers.into_iter().map(|it| Place::Found(address(it)));
        places.collect()
    }

    fn next(queue: &mut AddressQueue) -> Option<SocketAddr> {
        queue.next(|place| place.addresses().unwrap())
    }

    #[test]
    fn every_source_has_its_turn_however_many_addresses_another_has() {
        let mut queue = AddressQueue::default();
        let told = vec![address(1)];
        let named: Vec<_> = (10..26).map(address).collect();
        queue.begin(vec![told, named], found(100..250));
        let first: Vec<_> = std::iter::from_fn(|| next(&mut queue)).take(5).collect();
        assert_eq!(first, [1, 10, 100, 11, 101].map(address));
        // A name that was looked up meanwhile, of which one was tried.
        queue.add(vec![address(10), address(2), address(3)]);
        let more: Vec<_> = std::iter::from_fn(|| next(&mut queue)).take(5).collect();
        assert_eq!(more, [2, 12, 102, 3, 13].map(address));
        let rest = std::iter::from_fn(|| next(&mut queue)).count();
        assert_eq!(rest, 12 + 147);
    }

    #[test]
    fn a_search_that_was_cut_off_goes_on_with_the_places_that_it_has_left() {
        let mut queue = AddressQueue::default();
        queue.begin(vec![vec![address(1), address(2)]], found([100, 101]));
        assert_eq!(next(&mut queue), Some(address(1)));
        assert_eq!(next(&mut queue), Some(address(100)));
        queue.begin(vec![vec![address(1)]], found([100, 101]));
        let second: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert_eq!(second, [1, 101].map(address));
        queue.begin(Vec::new(), found([100, 101]));
        let third: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert_eq!(third, [100, 101].map(address));
    }
}
