//! Keywords of bonds and VLANs, as in ip-link(8), with the kernel's numbers.

/// A setting with a fixed set of values, each a keyword in files and a number in the kernel.
pub trait Keyword: Copy + Sized + 'static {
    /// Every possible value.
    const ALL: &'static [Self];
    /// Keywords in the same order, with the kernel's numbers.
    const KEYWORDS: &'static [(&'static str, u16)];

    /// Parses a keyword or a kernel's number, since files of other programs have both.
    fn of(text: &str) -> Option<Self> {
        Self::ALL.get(index_of(text, Self::KEYWORDS)?).copied()
    }

    /// All keywords, for error messages.
    fn words() -> String {
        all(Self::KEYWORDS)
    }
}

/// Index of the keyword, or kernel's number, that `text` is.
pub(super) fn index_of(text: &str, words: &[(&str, u16)]) -> Option<usize> {
    let number = crate::digits::decimal(text);
    let named = |(word, code): &(&str, u16)| *word == text || Some(*code) == number;
    words.iter().position(named)
}

pub(super) fn all(words: &[(&str, u16)]) -> String {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    words.join(", ")
}

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal $code:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl Keyword for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];
            const KEYWORDS: &'static [(&'static str, u16)] = &[$(($word, $code),)*];
        }

        impl $name {
            /// The number in the kernel.
            pub const fn code(self) -> u16 {
                match self { $(Self::$variant => $code,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $word,)* })
            }
        }
    };
}

words! {
    /// Mode of a bond: the selection of the sending member.
    BondMode {
        /// Members in turn.
        RoundRobin = "balance-rr" 0,
        /// One member until it fails.
        ActiveBackup = "active-backup" 1,
        /// By a hash of the packet.
        Xor = "balance-xor" 2,
        /// All members at once.
        Broadcast = "broadcast" 3,
        /// As negotiated with the switch by LACP.
        Lacp = "802.3ad" 4,
        /// By load, for transmission.
        Tlb = "balance-tlb" 5,
        /// By load, in both directions.
        Alb = "balance-alb" 6,
    }
}

words! {
    /// Rate of LACP packets.
    LacpRate {
        /// One in 30 seconds.
        Slow = "slow" 0,
        /// One in a second.
        Fast = "fast" 1,
    }
}

words! {
    /// Transmit hash policy: the fields that choose the member for a packet.
    HashPolicy {
        /// Source and destination hardware addresses.
        Layer2 = "layer2" 0,
        /// Addresses and ports.
        Layer34 = "layer3+4" 1,
        /// Hardware and IP addresses.
        Layer23 = "layer2+3" 2,
        /// As `layer2+3`, inside of tunnels.
        Encap23 = "encap2+3" 3,
        /// As `layer3+4`, inside of tunnels.
        Encap34 = "encap3+4" 4,
        /// VLAN and source's hardware address.
        VlanSource = "vlan+srcmac" 5,
    }
}

words! {
    /// Protocol of a VLAN's tag, with its EtherType.
    #[derive(Default)]
    VlanProtocol {
        /// The customer tag, which is the usual one.
        #[default]
        Customer = "802.1q" 0x8100,
        /// The service tag, the outer of two.
        Service = "802.1ad" 0x88a8,
    }
}

words! {
    /// A boolean setting.
    #[expect(missing_docs, reason = "the names say it")]
    YesNo {
        No = "no" 0,
        Yes = "yes" 1,
    }
}
