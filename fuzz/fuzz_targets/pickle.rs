//! A pickle that is read, written again in one form and read again holds the same values.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nightlatch_import::pickle::{PickleValue, PickleView, read};

/// Limits of depth and number for writing a value, because values may refer to each other in circles.
const DEPTH: usize = 60;
const VALUES: usize = 100_000;

fuzz_target!(|bytes: &[u8]| {
    let Ok(pickle) = read(bytes) else { return };
    let Some(first) = PickleWriter::write(pickle.root()) else {
        return;
    };
    let again = read(&first).expect("what was written can be read");
    assert_eq!(PickleWriter::write(again.root()), Some(first));
});

#[derive(Default)]
struct PickleWriter {
    out: Vec<u8>,
    values: usize,
}

impl PickleWriter {
    /// The value in protocol 4, each value written out; `None` when that would not end.
    fn write(value: PickleValue<'_>) -> Option<Vec<u8>> {
        let mut writer = Self::default();
        writer.out.extend(b"\x80\x04");
        writer.value(value, DEPTH)?;
        writer.out.push(b'.');
        Some(writer.out)
    }

    fn value(&mut self, value: PickleValue<'_>, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.values += 1;
        if self.values > VALUES {
            return None;
        }
        match value.view() {
            PickleView::None => self.out.push(b'N'),
            PickleView::Bool(true) => self.out.push(0x88),
            PickleView::Bool(false) => self.out.push(0x89),
            PickleView::Int(value) => self.long(value.into()),
            PickleView::Float(value) => {
                self.out.push(b'G');
                self.out.extend(value.to_be_bytes());
            }
            PickleView::Text(text) => self.counted(0x8d, text.as_bytes()),
            PickleView::Bytes(bytes) => self.counted(0x8e, bytes),
            PickleView::Tuple(mut items) => {
                self.out.push(b'(');
                items.try_for_each(|item| self.value(item, depth))?;
                self.out.push(b't');
            }
            PickleView::List(mut items) => {
                self.out.extend(b"](");
                items.try_for_each(|item| self.value(item, depth))?;
                self.out.push(b'e');
            }
            PickleView::Dict(mut entries) => {
                self.out.extend(b"}(");
                entries.try_for_each(|(key, value)| {
                    self.value(key, depth)?;
                    self.value(value, depth)
                })?;
                self.out.push(b'u');
            }
            PickleView::DateTime(date) => {
                self.out.extend(b"cdatetime\ndatetime\n");
                self.counted(0x8e, date.as_bytes());
                self.out.extend(b"\x85R");
            }
            PickleView::TimeDelta(micros) => {
                let seconds = micros.div_euclid(1_000_000);
                self.out.extend(b"cdatetime\ntimedelta\n");
                self.long(seconds.div_euclid(86_400));
                self.long(seconds.rem_euclid(86_400));
                self.long(micros.rem_euclid(1_000_000));
                self.out.extend(b"\x87R");
            }
        }
        Some(())
    }

    /// A number of at most 64 bits: days that come from such a number of days and of seconds may have
    /// a bit more, and are then written as they fit.
    fn long(&mut self, value: i128) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.out.extend(b"\x8a\x08");
        self.out.extend(value.to_le_bytes());
    }

    fn counted(&mut self, opcode: u8, bytes: &[u8]) {
        self.out.push(opcode);
        self.out.extend((bytes.len() as u64).to_le_bytes());
        self.out.extend(bytes);
    }
}
