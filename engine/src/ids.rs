//! Newtypes for numbers that must never be mixed up: pages, transactions, epochs, log positions.
//!
//! Does no arithmetic beyond "next". Invariants:
//! 1. `PageId::NONE` names no page; its file reading would be page 0, a meta page, which no tree
//!    can reach.
//! 2. The top bit of a page id says where the page lives: clear for the data file, set for the
//!    arena. There, the next bit says what takes the place: a whole page, or an overlay.

use std::fmt;

/// Number of a page, in the data file or (top bit set) in the arena.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PageId(pub(crate) u32);

impl PageId {
    /// No page: an empty tree.
    pub(crate) const NONE: PageId = PageId(0);
    /// The bit that marks an arena page.
    pub(crate) const ARENA_BIT: u32 = 1 << 31;
    /// The bit that, with the one above, marks an overlay.
    const OVERLAY_BIT: u32 = 1 << 30;

    /// Units of the arena that can be named.
    pub(crate) const ARENA_UNITS_MAX: u32 = PageId::OVERLAY_BIT;

    /// The whole page that starts at unit `index` of the arena.
    #[inline]
    pub(crate) fn arena(index: u32) -> PageId {
        debug_assert!(index & (PageId::ARENA_BIT | PageId::OVERLAY_BIT) == 0);
        PageId(index | PageId::ARENA_BIT)
    }

    /// The overlay at unit `index` of the arena.
    #[inline]
    pub(crate) fn overlay(index: u32) -> PageId {
        PageId(PageId::arena(index).0 | PageId::OVERLAY_BIT)
    }

    /// True for an arena page, which has no place in the file yet.
    #[inline]
    pub(crate) fn is_arena(self) -> bool {
        self.0 & PageId::ARENA_BIT != 0
    }

    /// True for a leaf in the arena that leaves entries where they are: see `page::overlay`.
    #[inline]
    pub(crate) fn is_overlay(self) -> bool {
        self.0 >= PageId::ARENA_BIT | PageId::OVERLAY_BIT
    }

    /// The page of the file, or the first unit of the arena.
    #[inline]
    pub(crate) fn index(self) -> u32 {
        if self.is_arena() { self.0 & !(PageId::ARENA_BIT | PageId::OVERLAY_BIT) } else { self.0 }
    }

    /// True when this names no page.
    #[inline]
    pub(crate) fn is_none(self) -> bool {
        self == PageId::NONE
    }
}

impl fmt::Debug for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_none(), self.is_arena(), self.is_overlay()) {
            (true, ..) => f.write_str("none"),
            (_, true, true) => write!(f, "overlay:{}", self.index()),
            (_, true, false) => write!(f, "arena:{}", self.index()),
            (_, false, _) => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A page and the checksum its parent holds for it.
///
/// The checksum of an arena page is not yet known and never read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PageRef {
    /// Where the page is.
    pub(crate) id: PageId,
    /// CRC-32 of the page's bytes; 0 while the page lives in the arena.
    pub(crate) crc: u32,
}

impl PageRef {
    /// The root of an empty tree.
    pub(crate) const NONE: PageRef = PageRef { id: PageId::NONE, crc: 0 };

    /// A page of the arena, whose checksum is computed when a checkpoint gives it a place.
    #[inline]
    pub(crate) fn unsealed(id: PageId) -> PageRef {
        PageRef { id, crc: 0 }
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $visibility:vis $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        $visibility struct $name($visibility u64);

        impl $name {
            /// The next number.
            #[inline]
            #[must_use]
            pub(crate) fn next(self) -> $name {
                $name(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

counter!(
    /// Number of a committed write transaction: the database's revision. The first commit is 1.
    pub TxnId
);
counter!(
    /// Number of a version of the tree. A commit makes a new one, and so does housekeeping that
    /// moves pages without changing their content.
    pub(crate) Epoch
);
counter!(
    /// Number of a frame in the write-ahead log. The first frame is 1.
    pub(crate) Lsn
);
