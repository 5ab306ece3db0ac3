//! How many connections each client has, and requests beside the first on those of HTTP/2, so that none has them all.
//!
//! The count is over all workers: a client does not choose its worker, and a share for each would refuse some of what it
//! may have. It costs a lock twice in the life of what is counted, in one of several tables that are picked by the address. An
//! entry is there as long as its client has any, so there are never more than those.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::client::counted_as;

/// Tables with a lock of their own.
const STRIPES: usize = 16;

/// Who is here.
#[derive(Debug)]
pub struct Crowd {
    most: usize,
    hasher: ahash::RandomState,
    stripes: [Mutex<HashMap<IpAddr, usize, ahash::RandomState>>; STRIPES],
}

/// A connection or a request that counts; dropping it counts it out.
#[derive(Debug)]
pub(super) struct Member {
    crowd: Arc<Crowd>,
    client: IpAddr,
}

impl Crowd {
    /// Nobody yet; later at most `most` of each client.
    pub fn new(most: usize) -> Self {
        let hasher = ahash::RandomState::new();
        let stripes = std::array::from_fn(|_| Mutex::new(HashMap::with_hasher(hasher.clone())));
        Self { most, hasher, stripes }
    }

    /// Counts a connection or a request of `client`, unless it has all that it may have.
    pub(super) fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Member> {
        let client = counted_as(client);
        let mut stripe = self.stripe(client)?.lock().unwrap_or_else(PoisonError::into_inner);
        let count = stripe.entry(client).or_insert(0);
        (*count < self.most).then(|| {
            *count += 1;
            Member { crowd: self.clone(), client }
        })
    }

    fn stripe(&self, client: IpAddr) -> Option<&Mutex<HashMap<IpAddr, usize, ahash::RandomState>>> {
        let hash = usize::try_from(self.hasher.hash_one(client) >> 32).unwrap_or(0);
        self.stripes.get(hash % STRIPES)
    }
}

impl Member {
    /// Where it is counted, and whose it is.
    pub(super) fn origin(&self) -> (Arc<Crowd>, IpAddr) {
        (self.crowd.clone(), self.client)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some(stripe) = self.crowd.stripe(self.client) else { return };
        let mut stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = stripe.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                stripe.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn known(crowd: &Crowd) -> usize {
        crowd.stripes.iter().map(|stripe| stripe.lock().unwrap().len()).sum()
    }

    #[test]
    fn each_client_has_its_own_number_and_nothing_is_kept_of_who_has_left() {
        let crowd = Arc::new(Crowd::new(2));
        let first: Vec<Member> = (0..2).filter_map(|_| crowd.enter(ip("192.0.2.1"))).collect();
        assert_eq!(first.len(), 2);
        assert!(crowd.enter(ip("192.0.2.1")).is_none());
        assert!(crowd.enter(ip("::ffff:192.0.2.1")).is_none(), "the same in the form of IPv6");
        let other = crowd.enter(ip("192.0.2.2")).unwrap();
        drop(first);
        assert!(crowd.enter(ip("192.0.2.1")).is_some());
        drop(other);
        assert_eq!(known(&crowd), 0);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let crowd = Arc::new(Crowd::new(1));
        let _one = crowd.enter(ip("2001:db8:1:2::1")).unwrap();
        assert!(crowd.enter(ip("2001:db8:1:2:ffff::9")).is_none());
        assert!(crowd.enter(ip("2001:db8:1:3::1")).is_some());
    }

    #[test]
    fn counting_from_many_threads_comes_out_even() {
        let crowd = Arc::new(Crowd::new(usize::MAX));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for last in 0..=255 {
                        let held = [crowd.enter(ip("192.0.2.7")), crowd.enter(IpAddr::from([10, 0, 0, last]))];
                        assert!(held.iter().all(Option::is_some));
                    }
                });
            }
        });
        assert_eq!(known(&crowd), 0);
    }
}
