//! What the card's thread needs of PC/SC: readers, and a connection to one card. Tests have scripted ones.

use crate::apdu::Apdu;

/// A reader or a card cannot be used as it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error("pcscd does not answer")]
    NoService,
    #[error("the card was taken out")]
    Removed,
    #[error("the card was reset by another program or by its reader")]
    Reset,
    #[error("another program uses the card")]
    InUse,
    #[error(
        "pcscd refuses this user: polkit needs the rule /usr/share/polkit-1/rules.d/nightlatch-card.rules, which the package installs"
    )]
    Refused,
    /// Every user of this machine can reach pcscd, and card.conf does not accept that.
    #[error(
        "every user of this machine can reach pcscd: `nightlatch card doctor` says how to mend it"
    )]
    Open,
    #[error("the card or its reader does not work: {0}")]
    Faulty(String),
}

/// A reader with a card in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ReaderWithCard {
    pub(crate) name: String,
    /// Rises with each card that is put in or taken out.
    pub(crate) insertions: u32,
}

/// The readers of this machine.
pub(crate) trait Readers: Send {
    /// Those that have a card now.
    fn with_card(&mut self) -> Result<Vec<ReaderWithCard>, AccessError>;

    /// Takes the card of this reader, so that no other program has it.
    fn connect(&mut self, reader: &str) -> Result<Box<dyn Connection>, AccessError>;
}

/// A card that is held exclusively. Its drop resets it, so that no PIN stays verified.
pub(crate) trait Connection: Send {
    /// Sends a command, and gives the answer with its status.
    fn transmit(&mut self, apdu: &Apdu) -> Result<Vec<u8>, AccessError>;

    /// Resets the card: whatever was selected or verified is not any more.
    fn reset(&mut self) -> Result<(), AccessError>;

    /// Goes on after a reset that was made elsewhere, without making another one.
    fn reconnect(&mut self) -> Result<(), AccessError>;

    /// Gives back a card that is not wanted, without a reset. Its OpenPGP application was selected: what another program had selected
    /// or verified may be lost.
    fn release(self: Box<Self>);
}
