//! Secrets from files: read anew for every use, so that they are replaced without a restart, and never kept or printed.

use std::path::Path;

/// Bytes of a secret file.
const FILE_BYTES_MAX: u64 = 8 << 10;

/// The text of a secret file. The error names the file and nothing of its content.
pub async fn read(file: &Path) -> Result<String, String> {
    let wrong = |cause: &dyn std::fmt::Display| format!("cannot read the secret in `{}`: {cause}", file.display());
    let size = tokio::fs::metadata(file).await.map_err(|error| wrong(&error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(wrong(&format_args!("more than {FILE_BYTES_MAX} bytes")));
    }
    tokio::fs::read_to_string(file).await.map_err(|error| wrong(&error))
}

/// The only line of a secret file.
pub async fn read_line(file: &Path) -> Result<String, String> {
    let text = read(file).await?;
    let line = text.trim();
    if line.is_empty() || line.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return Err(format!("the secret in `{}` is not one line", file.display()));
    }
    Ok(line.to_owned())
}
