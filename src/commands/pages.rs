//! Pages of a list that is longer than a card, and the buttons that turn them.

use crate::context::{Button, Style};

/// A page, and what leads to the others.
pub struct Page<'a, T> {
    pub items: &'a [T],
    /// Counted from 0.
    pub number: usize,
    before: bool,
    /// How many follow.
    pub after: usize,
}

impl<'a, T> Page<'a, T> {
    /// The page of this number, or the last one if there are not as many now.
    pub fn of(all: &'a [T], number: usize, size: usize) -> Self {
        let number = number.min(all.len().saturating_sub(1) / size);
        let (start, end) = (number * size, ((number + 1) * size).min(all.len()));
        Self { items: &all[start..end], number, before: number > 0, after: all.len() - end }
    }

    /// Buttons to the neighbours, if there are any; `id` is the control of a page, `None` if that would be too
    /// long.
    pub fn buttons(&self, id: impl Fn(usize) -> Option<String>) -> Vec<Button> {
        if !self.before && self.after == 0 {
            return Vec::new();
        }
        let ids = (id(self.number.saturating_sub(1)), id(self.number + 1));
        // Ids must differ within a message: a button that leads nowhere has the place of its page.
        let (Some(back), Some(more)) = ids else { return Vec::new() };
        let back = if self.before { back } else { format!("{back}-") };
        vec![
            Button { disabled: !self.before, ..Button::new(back, "◀ Back") },
            Button { disabled: self.after == 0, style: Style::Primary, ..Button::new(more, "More ▶") },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_where_the_list_does() {
        let all: Vec<usize> = (0..45).collect();
        let page = Page::of(&all, 2, 20);
        assert_eq!((page.items.len(), page.before, page.after), (5, true, 0));
        assert_eq!(Page::of(&all, 9, 20).number, 2, "there are fewer pages now");
        assert!(Page::<usize>::of(&[], 3, 20).buttons(|n| Some(n.to_string())).is_empty());
        let ids: Vec<String> =
            Page::of(&all, 0, 20).buttons(|n| Some(format!("p:{n}"))).into_iter().map(|b| b.id).collect();
        assert_eq!(ids, ["p:0-", "p:1"]);
    }
}
