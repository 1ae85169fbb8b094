// SPDX-License-Identifier: GPL-2.0-only
//! A hash table with open addressing.

/// A hash table. `SLOTS` is a power of two. At most half of the slots should be used.
pub struct Table<K, V, const SLOTS: usize> {
    slots: [Option<(K, V)>; SLOTS],
}

impl<K: Copy + PartialEq, V: Copy, const SLOTS: usize> Table<K, V, SLOTS> {
    /// A table without keys.
    pub const fn new() -> Self {
        assert!(SLOTS.is_power_of_two());
        Self {
            slots: [None; SLOTS],
        }
    }

    /// The value of the key that has this `hash` and is equal to `key`.
    #[inline]
    pub fn get(&mut self, hash: u32, key: K) -> Option<&mut V> {
        let at = self.find(hash, key)?;
        self.slots[at].as_mut().map(|(_, value)| value)
    }

    /// Adds a key, or changes its value. Returns false if the table is full.
    #[inline]
    pub fn insert(&mut self, hash: u32, key: K, value: V) -> bool {
        match self.find(hash, key) {
            Some(at) => {
                self.slots[at] = Some((key, value));
                true
            }
            None => false,
        }
    }

    /// The slot of the key, or the free slot where it would go. `None` if the table is full.
    #[inline]
    fn find(&self, hash: u32, key: K) -> Option<usize> {
        // A product's upper bits are the well-mixed ones.
        let mut at = (hash.wrapping_mul(0x9e37_79b1) >> (32 - SLOTS.trailing_zeros())) as usize;
        for _ in 0..SLOTS {
            match &self.slots[at % SLOTS] {
                Some((other, _)) if *other != key => at += 1,
                _ => return Some(at % SLOTS),
            }
        }
        None
    }
}

impl<K: Copy + PartialEq, V: Copy, const SLOTS: usize> Default for Table<K, V, SLOTS> {
    fn default() -> Self {
        Self::new()
    }
}
