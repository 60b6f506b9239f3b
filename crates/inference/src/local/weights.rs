//! Reads a safetensors file tensor by tensor.
//!
//! The usual ways are to map the file into memory, which needs `unsafe` code, or to read it whole and copy each tensor
//! out of it, which takes its size twice for a while. Reading one tensor after the other takes it once.
//!
//! The format: the length of the header as 8 bytes, little-endian; the header, JSON, which gives each tensor's type,
//! shape and place behind it; the numbers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::LocalModelError;

const FILE: &str = "model.safetensors";
/// Far above any real header; keeps a damaged length from asking for all memory.
const MAX_HEADER_BYTES: u64 = 16 * 1024 * 1024;

#[derive(serde::Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// Every tensor of the file, as 32-bit numbers.
pub(crate) fn read(folder: &Path) -> Result<HashMap<String, Tensor>, LocalModelError> {
    let mut file = File::open(folder.join(FILE)).map_err(unreadable)?;
    let file_length = file.metadata().map_err(unreadable)?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(unreadable)?;
    let header_length = u64::from_le_bytes(length);
    if header_length > MAX_HEADER_BYTES || header_length > file_length {
        return Err(unusable("its header is impossibly long"));
    }
    let mut header = vec![0; header_length as usize];
    file.read_exact(&mut header).map_err(unreadable)?;
    let header: HashMap<String, serde_json::Value> = serde_json::from_slice(&header).map_err(unusable)?;

    let data_start = 8 + header_length;
    let mut tensors = HashMap::new();
    for (name, value) in header {
        if name == "__metadata__" {
            continue;
        }
        let entry: Entry = serde_json::from_value(value).map_err(unusable)?;
        // Positions and other whole numbers that some files carry are no weights.
        let Some(dtype) = float_type(&entry.dtype) else {
            continue;
        };
        let tensor = read_tensor(&mut file, file_length, data_start, &entry, dtype)
            .map_err(|error| named(&name, error))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

fn float_type(name: &str) -> Option<DType> {
    match name {
        "F32" => Some(DType::F32),
        "F16" => Some(DType::F16),
        "BF16" => Some(DType::BF16),
        _ => None,
    }
}

fn read_tensor(
    file: &mut File,
    file_length: u64,
    data_start: u64,
    entry: &Entry,
    dtype: DType,
) -> Result<Tensor, LocalModelError> {
    let (begin, end) = entry.data_offsets;
    let elements = entry
        .shape
        .iter()
        .try_fold(1_u64, |product, side| product.checked_mul(*side as u64));
    let expected = elements.and_then(|elements| elements.checked_mul(dtype.size_in_bytes() as u64));
    let fits = data_start.checked_add(end).is_some_and(|end| end <= file_length);
    if begin > end || !fits || expected != Some(end - begin) {
        return Err(unusable("its place in the file does not fit its shape"));
    }
    file.seek(SeekFrom::Start(data_start + begin))
        .map_err(unreadable)?;
    let bytes = (end - begin) as usize;
    if dtype == DType::F32 {
        let numbers = read_f32(file, bytes / 4)?;
        return Tensor::from_vec(numbers, entry.shape.as_slice(), &Device::Cpu).map_err(unusable);
    }
    let mut raw = vec![0; bytes];
    file.read_exact(&mut raw).map_err(unreadable)?;
    Tensor::from_raw_buffer(&raw, dtype, &entry.shape, &Device::Cpu)
        .and_then(|tensor| tensor.to_dtype(DType::F32))
        .map_err(unusable)
}

fn read_f32(file: &mut File, count: usize) -> Result<Vec<f32>, LocalModelError> {
    let mut numbers = Vec::with_capacity(count);
    let mut buffer = vec![0; 64 * 1024];
    while numbers.len() < count {
        let wanted = ((count - numbers.len()) * 4).min(buffer.len());
        let part = &mut buffer[..wanted];
        file.read_exact(part).map_err(unreadable)?;
        let (groups, _) = part.as_chunks::<4>();
        numbers.extend(groups.iter().map(|bytes| f32::from_le_bytes(*bytes)));
    }
    Ok(numbers)
}

fn unreadable(error: std::io::Error) -> LocalModelError {
    LocalModelError::Unreadable {
        file: FILE,
        reason: error.to_string(),
    }
}

fn unusable(reason: impl std::fmt::Display) -> LocalModelError {
    LocalModelError::Unusable {
        file: FILE,
        reason: reason.to_string(),
    }
}

fn named(tensor: &str, error: LocalModelError) -> LocalModelError {
    match error {
        LocalModelError::Unusable { file, reason } => LocalModelError::Unusable {
            file,
            reason: format!("tensor {tensor}: {reason}"),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(header: &str, data: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        std::fs::write(folder.path().join(FILE), bytes).expect("writable");
        folder
    }

    #[test]
    fn numbers_come_back() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},
            "h":{"dtype":"BF16","shape":[1],"data_offsets":[8,10]},
            "ids":{"dtype":"I64","shape":[1],"data_offsets":[10,18]}}"#;
        let mut data = Vec::new();
        data.extend_from_slice(&1.5_f32.to_le_bytes());
        data.extend_from_slice(&(-2.0_f32).to_le_bytes());
        data.extend_from_slice(&[0x80, 0x3f]);
        data.extend_from_slice(&[0; 8]);
        let folder = write(header, &data);
        let tensors = read(folder.path()).expect("sound");
        assert_eq!(tensors.len(), 2);
        assert_eq!(tensors["a"].to_vec2::<f32>().expect("2-d"), [[1.5], [-2.0]]);
        assert_eq!(tensors["h"].to_vec1::<f32>().expect("1-d"), [1.0]);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_a_panic() {
        let place = |offsets: &str, shape: &str| {
            format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        for header in [
            place("[0,8]", "[3]"),
            place("[8,0]", "[2]"),
            place("[0,800]", "[200]"),
            place("[18446744073709551608,18446744073709551615]", "[2]"),
            place("[0,8]", "[4294967296,4294967296,4294967296]"),
            "not json".to_owned(),
        ] {
            let folder = write(&header, &[0; 8]);
            assert!(read(folder.path()).is_err(), "{header}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(
            read(folder.path()),
            Err(LocalModelError::Unreadable { .. })
        ));
        std::fs::write(folder.path().join(FILE), [0xff; 64]).expect("writable");
        assert!(matches!(
            read(folder.path()),
            Err(LocalModelError::Unusable { .. })
        ));
    }
}
