//! Domain names as multicast DNS compares them: raw labels, ASCII case ignored (RFC 6762 section 16).

use std::cmp::Ordering;

use simple_dns::{Label, Name};

/// A domain name in wire form without the root label, spelt as it was received.
///
/// Length bytes are at most 63 and so below any ASCII letter: folding the case of the whole
/// form leaves them alone.
#[derive(Clone, Debug)]
pub(super) struct DomainName(Box<[u8]>);

impl DomainName {
    pub(super) fn from_wire_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut wire = Vec::new();
        for label in labels {
            let length = u8::try_from(label.len()).unwrap_or(u8::MAX).min(63);
            wire.push(length);
            wire.extend_from_slice(&label[..usize::from(length)]);
        }
        Self(wire.into())
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            let (length, tail) = rest.split_first()?;
            let (label, tail) = tail.split_at_checked(usize::from(*length))?;
            rest = tail;
            Some(label)
        })
    }

    /// The first label, when the rest of the name is `parent`.
    pub(super) fn label_below(&self, parent: &Self) -> Option<&[u8]> {
        let (length, tail) = self.0.split_first()?;
        let (label, rest) = tail.split_at_checked(usize::from(*length))?;
        rest.eq_ignore_ascii_case(&parent.0).then_some(label)
    }

    /// The wire form, without the root label.
    pub(super) fn wire(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn to_dns(&self) -> Name<'_> {
        let labels: Vec<Label<'_>> = self.labels().map(Label::new_unchecked).collect();
        Name::new_with_labels(&labels)
    }
}

impl From<&Name<'_>> for DomainName {
    fn from(name: &Name<'_>) -> Self {
        Self::from_wire_labels(name.get_labels().iter().map(AsRef::as_ref))
    }
}

impl PartialEq for DomainName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for DomainName {}

impl PartialOrd for DomainName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DomainName {
    fn cmp(&self, other: &Self) -> Ordering {
        let fold = |byte: &u8| byte.to_ascii_lowercase();
        self.0.iter().map(fold).cmp(other.0.iter().map(fold))
    }
}
