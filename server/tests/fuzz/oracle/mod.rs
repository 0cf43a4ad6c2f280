//! References to compare with: the same questions answered by other, plainer means, without a thought for speed.

pub mod conditions;
pub mod message;
pub mod paths;
pub mod ranges;

/// An input taken as a row of choices. One that is over chooses the first from then on.
pub struct Choices<'a>(std::slice::Iter<'a, u8>);

impl<'a> Choices<'a> {
    pub fn of(input: &'a [u8]) -> Self {
        Self(input.iter())
    }

    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % count
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
