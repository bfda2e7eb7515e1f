//! BER-TLV as cards use it (ISO 7816-4, 5.2.2): reading only, never past the end.

/// The objects of `data` in their order: tag and value. The first malformed one ends it with `None`.
fn next(data: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (&first, mut rest) = data.split_first()?;
    let mut tag = u32::from(first);
    if first & 0x1f == 0x1f {
        let (&second, after) = rest.split_first()?;
        // Cards have tags of two bytes at most.
        if second & 0x80 != 0 {
            return None;
        }
        tag = tag << 8 | u32::from(second);
        rest = after;
    }
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (bytes, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*bytes)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

/// The value of the first object with `tag`. `None` also when an object before it is malformed.
pub(crate) fn find(mut data: &[u8], tag: u32) -> Option<&[u8]> {
    while !data.is_empty() {
        let (found, value, rest) = next(data)?;
        if found == tag {
            return Some(value);
        }
        data = rest;
    }
    None
}

/// True when `data` is a row of whole objects, without anything after the last.
pub(crate) fn is_whole(mut data: &[u8]) -> bool {
    while !data.is_empty() {
        match next(data) {
            Some((_, _, rest)) => data = rest,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_object_is_found_by_its_tag_whatever_the_form_of_its_length() {
        let long = [7; 300];
        let data = [
            &[0x4f, 2, 1, 2, 0x5f, 0x52, 0x81, 1, 3, 0x73, 0x82, 1, 44][..],
            &long,
            &[0xc4, 0],
        ]
        .concat();
        assert_eq!(find(&data, 0x4f), Some(&[1, 2][..]));
        assert_eq!(find(&data, 0x5f52), Some(&[3][..]));
        assert_eq!(find(&data, 0x73), Some(&long[..]));
        assert_eq!(find(&data, 0xc4), Some(&[][..]));
        assert_eq!(find(&data, 0xc5), None);
        assert!(is_whole(&data));
        assert!(!is_whole(&data[..data.len() - 1]));
    }

    #[test]
    fn what_is_cut_off_or_of_another_form_is_not_found() {
        for data in [
            &[0x4f][..],
            &[0x4f, 2, 1],
            &[0x5f],
            &[0x4f, 0x83, 0, 0, 1, 1],
            &[0x4f, 0x80, 0, 0],
            &[0x5f, 0x81, 0x01, 1, 1],
            &[0x01, 5, 0, 0x4f, 1, 1],
        ] {
            assert_eq!(find(data, 0x4f), None, "{data:?}");
            assert!(!is_whole(data));
        }
    }

    proptest! {
        #[test]
        fn no_data_make_it_read_past_the_end(data in prop::collection::vec(any::<u8>(), 0..64), tag in any::<u16>()) {
            if let Some(value) = find(&data, u32::from(tag)) {
                prop_assert!(value.len() <= data.len());
            }
            is_whole(&data);
        }
    }
}
