//! Numbers of links, each with the range that the kernel takes.

use std::fmt;
use std::str::FromStr;

use super::Unlike;

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident: $of:ty, $least:literal to $most:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub struct $name($of);

        impl $name {
            /// The number, if it is in the range.
            pub const fn new(number: u32) -> Option<Self> {
                match number {
                    $least..=$most => Some(Self(number as $of)),
                    _ => None,
                }
            }

            /// The number.
            pub const fn get(self) -> $of {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = Unlike;

            fn from_str(text: &str) -> Result<Self, Unlike> {
                let expected = concat!("a number from ", $least, " to ", $most);
                crate::digits::decimal(text).and_then(Self::new).ok_or(Unlike(expected))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

numbers! {
    /// A VLAN's number: 0 and 4095 mean something else (IEEE 802.1Q, 9.6).
    VlanId: u16, 1 to 4094;
    /// The largest packet, in bytes: what IPv4 needs at least (RFC 791, 3.1), and what the kernel takes at most.
    Mtu: u32, 68 to 65535;
    /// How often a bond looks whether its members have a carrier, in milliseconds: with more than a minute they
    /// are not looked at at all.
    Miimon: u32, 1 to 60000;
    /// How long a new port of a bridge listens, in seconds: `BR_MAX_FORWARD_DELAY` (IEEE 802.1D, 8.10.2); 0 only
    /// without a spanning tree.
    ForwardDelay: u32, 0 to 30;
}

impl Default for Miimon {
    /// What the kernel's documentation of bonding calls a good starting point. Its own default is never, and
    /// then a dead member is used for ever.
    fn default() -> Self {
        Self(100)
    }
}
