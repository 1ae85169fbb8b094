// SPDX-License-Identifier: GPL-2.0-only
//! A hash table with open addressing.

/// Up to half of `SLOTS`, a power of two, keys, each with a value.
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

    /// Where the key is, or would be.
    #[inline]
    fn find(&self, hash: u32, key: K) -> Option<usize> {
        // The upper bits of a product are the scattered ones.
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
