//! Protobuf, written from the end to the beginning, so that lengths are known when they are written.

/// Bytes in reverse order.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;

impl Writer {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes in their order.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.reverse();
        self.0
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend(bytes.iter().rev());
    }

    pub fn varint(&mut self, mut value: u64) {
        let mut bytes = [0u8; 10];
        let mut length = 0;
        loop {
            let low = (value & 0x7f) as u8;
            value >>= 7;
            bytes[length] = if value == 0 { low } else { low | 0x80 };
            length += 1;
            if value == 0 {
                break;
            }
        }
        self.raw(&bytes[..length]);
    }

    fn tag(&mut self, number: u32, wire_type: u8) {
        self.varint(u64::from(number) << 3 | u64::from(wire_type));
    }

    /// A number or boolean; negative numbers take ten bytes, whatever their type.
    pub fn integer(&mut self, number: u32, value: i64) {
        self.varint(value.cast_unsigned());
        self.tag(number, VARINT);
    }

    pub fn double(&mut self, number: u32, value: f64) {
        self.raw(&value.to_le_bytes());
        self.tag(number, FIXED64);
    }

    pub fn bytes(&mut self, number: u32, value: &[u8]) {
        self.raw(value);
        self.varint(value.len() as u64);
        self.tag(number, BYTES);
    }

    pub fn text(&mut self, number: u32, value: &str) {
        self.bytes(number, value.as_bytes());
    }

    /// A message as field, with what `inside` writes.
    pub fn nested<E>(
        &mut self,
        number: u32,
        inside: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.len();
        inside(self)?;
        self.varint((self.len() - before) as u64);
        self.tag(number, BYTES);
        Ok(())
    }
}
