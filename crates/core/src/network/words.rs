//! The words of bonds and VLANs, as ip-link(8) spells them, with the kernel's numbers for them.

/// A choice that has a word in files and a number in the kernel.
pub trait Word: Copy + Sized + 'static {
    /// Every choice.
    const ALL: &'static [Self];
    /// The words for them, in the same order, and the kernel's numbers.
    const WORDS: &'static [(&'static str, u16)];

    /// The choice that `text` names, by its word or the kernel's number, as files of others have both.
    fn of(text: &str) -> Option<Self> {
        Self::ALL.get(index_of(text, Self::WORDS)?).copied()
    }

    /// All words, for who must choose.
    fn words() -> String {
        all(Self::WORDS)
    }
}

/// Which of `words` a text is.
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

        impl Word for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];
            const WORDS: &'static [(&'static str, u16)] = &[$(($word, $code),)*];
        }

        impl $name {
            /// The kernel's number.
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
    /// Which member of a bond sends.
    BondMode {
        /// One after another.
        RoundRobin = "balance-rr" 0,
        /// One, until it fails.
        ActiveBackup = "active-backup" 1,
        /// By a sum over the packet.
        Xor = "balance-xor" 2,
        /// All.
        Broadcast = "broadcast" 3,
        /// As agreed with the switch, by LACP.
        Lacp = "802.3ad" 4,
        /// By load.
        Tlb = "balance-tlb" 5,
        /// By load, both ways.
        Alb = "balance-alb" 6,
    }
}

words! {
    /// How often partners of 802.3ad tell of themselves.
    LacpRate {
        /// Every 30 seconds.
        Slow = "slow" 0,
        /// Every second.
        Fast = "fast" 1,
    }
}

words! {
    /// Which packets take the same member.
    HashPolicy {
        /// Hardware addresses.
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
    /// How packets of a VLAN are marked: the EtherType.
    #[derive(Default)]
    Protocol {
        /// The usual one.
        #[default]
        Customer = "802.1q" 0x8100,
        /// The outer one of two.
        Service = "802.1ad" 0x88a8,
    }
}

words! {
    /// Yes or no.
    YesNo {
        /// No.
        No = "no" 0,
        /// Yes.
        Yes = "yes" 1,
    }
}
