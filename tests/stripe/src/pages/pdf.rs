//! A PDF of one page with lines of text in Helvetica: all that an invoice needs here.

use std::fmt::Write as _;

/// A4 portrait. Each line is a size in points and its text; what Latin-1 lacks becomes a question mark, but for the currencies' signs, which become codes.
pub fn write(lines: &[(u32, String)]) -> Vec<u8> {
    let mut content = String::from("BT\n50 790 Td\n");
    for (size, text) in lines {
        let _ = writeln!(content, "/F1 {size} Tf\n({}) Tj\n0 -{} Td", literal(text), size + 8);
    }
    content.push_str("ET\n");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 4 0 R >> >> /Contents 5 0 R >>".to_owned(),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
        format!("<< /Length {} >>\nstream\n{content}endstream", content.len()),
    ];
    let mut file = String::from("%PDF-1.4\n");
    let mut offsets = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        let _ = write!(file, "{} 0 obj\n{object}\nendobj\n", number + 1);
    }
    let table = file.len();
    let _ = write!(file, "xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for offset in &offsets {
        let _ = writeln!(file, "{offset:010} 00000 n ");
    }
    let _ = write!(file, "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1);
    file.into_bytes()
}

/// The inside of a PDF string, in ASCII with octal escapes.
fn literal(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '(' | ')' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            '₹' => out.push_str("INR "),
            '€' => out.push_str("\\200"),
            '\u{a0}'..='\u{ff}' => {
                let _ = write!(out, "\\{:03o}", u32::from(c));
            }
            _ => out.push('?'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_points_at_each_object() {
        let file = super::write(&[(12, "a (b) \\ ₹5 é".into())]);
        let text = String::from_utf8(file).unwrap();
        assert!(text.contains("(a \\(b\\) \\\\ INR 5 \\351) Tj"));
        for (number, line) in text.lines().skip_while(|l| *l != "0000000000 65535 f ").skip(1).take(5).enumerate() {
            let offset: usize = line[..10].parse().unwrap();
            assert!(text[offset..].starts_with(&format!("{} 0 obj", number + 1)));
        }
    }
}
