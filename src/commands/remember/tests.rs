//! What a server sees of the memories, over the embedded engine.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Chance from a seed that is printed, and can be given again as `MNEME_TEST_SEED`.
pub fn seeded() -> StdRng {
    let given = std::env::var("MNEME_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| rand::rng().random());
    println!("MNEME_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Text of up to `max` characters from all of Unicode, and often from where it is difficult.
pub fn random_text(random: &mut StdRng, max: usize) -> String {
    const DIFFICULT: [(u32, u32); 9] = [
        (0x20, 0x7E),
        (0x80, 0x24F),
        (0x300, 0x36F),
        (0x370, 0x3FF),
        (0x5D0, 0x6FF),
        (0x1F00, 0x200F),
        (0x2028, 0x206F),
        (0xAC00, 0xFFFF),
        (0x1F300, 0x1F9FF),
    ];
    const MARKS: [char; 12] = ['"', '`', '“', '”', '„', '«', '»', ' ', '\n', '＂', '｀', '\u{200B}'];
    let length = random.random_range(0..=max);
    let mut one = || match random.random_range(0..10) {
        0 => random.random::<char>(),
        1..=3 => MARKS[random.random_range(0..MARKS.len())],
        _ => {
            let (first, last) = DIFFICULT[random.random_range(0..DIFFICULT.len())];
            char::from_u32(random.random_range(first..=last)).unwrap_or('x')
        }
    };
    (0..length).map(|_| one()).collect()
}
