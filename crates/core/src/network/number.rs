//! Numeric settings of links, each with the range that the kernel accepts.

use std::fmt;
use std::str::FromStr;

use super::FormatError;

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident: $of:ty, $least:literal to $most:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub struct $name($of);

        impl $name {
            /// Returns `None` outside of the range.
            pub const fn new(number: u32) -> Option<Self> {
                match number {
                    $least..=$most => Some(Self(number as $of)),
                    _ => None,
                }
            }

            /// Returns the number.
            pub const fn get(self) -> $of {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = FormatError;

            fn from_str(text: &str) -> Result<Self, FormatError> {
                let expected = concat!("a number from ", $least, " to ", $most);
                crate::digits::decimal(text).and_then(Self::new).ok_or(FormatError(expected))
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
    /// VLAN id; 0 and 4095 are reserved (IEEE 802.1Q, 9.6).
    VlanId: u16, 1 to 4094;
    /// MTU in bytes: at least the minimum of IPv4 (RFC 791, 3.1), at most the kernel's maximum.
    Mtu: u32, 68 to 65535;
    /// MII monitoring interval of a bond in milliseconds. The upper limit is ours: a longer interval is as good as
    /// none.
    Miimon: u32, 1 to 60000;
    /// Forwarding delay of a bridge in seconds: `BR_MAX_FORWARD_DELAY` (IEEE 802.1D, 8.10.2); 0 only without a
    /// spanning tree.
    ForwardDelay: u32, 0 to 30;
}

impl Default for Miimon {
    /// The starting point that the kernel's documentation of bonding recommends. The kernel's own default is no
    /// monitoring, with which a dead member stays in use.
    fn default() -> Self {
        Self(100)
    }
}
