//! Text in columns, as Go's tabwriter makes them, so that scripts made for istioctl find what they look for.

/// Rows under each other: every column as wide as its widest cell and `padding`, the last one as it is.
pub(crate) fn columns(rows: &[Vec<String>], padding: usize) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > column + 1);
        cells.map(|row| row[column].chars().count()).max()
    };
    let widths: Vec<_> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let width = widths[column].unwrap_or_default() + padding;
                let blanks = width - cell.chars().count();
                text.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        text.push('\n');
    }
    text
}

/// A row of cells.
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$($cell.to_string()),*] };
}
pub(crate) use row;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_is_not_filled_up() {
        let rows = [row!["NAME", "A"], row!["ü", ""], row!["longer", "x"]];
        assert_eq!(columns(&rows, 2), "NAME    A\nü       \nlonger  x\n");
    }
}
