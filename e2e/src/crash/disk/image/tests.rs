//! What a loss of power leaves.

use super::*;

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

/// A disk with a file `a` that is synced and holds `old`.
fn disk() -> (Image, Number) {
    let mut image = Image::new(1 << 20);
    let number = image
        .create(ROOT, name("a"), 0o600, false)
        .expect("a file")
        .number;
    image.write(number, 0, b"old").expect("room");
    image.sync(number);
    image.sync(ROOT);
    (image, number)
}

fn contents(image: &Image, file: &str) -> Result<Vec<u8>, Refusal> {
    let number = image.lookup(ROOT, name(file))?.number;
    image.read(number, 0, 1 << 20).map(<[u8]>::to_vec)
}

fn lose(image: &mut Image, survival: Survival) {
    image.lose_power(survival, &mut Rng::with_seed(7));
}

#[test]
fn what_was_synced_stays_and_what_was_not_goes() {
    let (mut image, number) = disk();
    image.write(number, 3, b" and new").expect("room");
    assert_eq!(contents(&image, "a"), Ok(b"old and new".to_vec()));
    lose(&mut image, Survival::Nothing);
    assert_eq!(contents(&image, "a"), Ok(b"old".to_vec()));
}

#[test]
fn a_name_is_safe_only_once_its_folder_is_synced() {
    let (mut image, _) = disk();
    let number = image
        .create(ROOT, name("b"), 0o600, false)
        .expect("a file")
        .number;
    image.write(number, 0, b"new").expect("room");
    image.sync(number);
    let mut unsynced = image.clone();
    lose(&mut unsynced, Survival::Nothing);
    assert_eq!(contents(&unsynced, "b"), Err(Refusal::Missing));
    image.sync(ROOT);
    lose(&mut image, Survival::Nothing);
    assert_eq!(contents(&image, "b"), Ok(b"new".to_vec()));
}

#[test]
fn a_rename_takes_place_or_does_not() {
    let (mut image, _) = disk();
    let number = image
        .create(ROOT, name("fresh"), 0o600, false)
        .expect("a file")
        .number;
    image.write(number, 0, b"new").expect("room");
    image.sync(number);
    image
        .rename((ROOT, name("fresh")), (ROOT, name("a")))
        .expect("both are there");
    for seed in 0..20 {
        let mut after = image.clone();
        after.lose_power(Survival::Some, &mut Rng::with_seed(seed));
        let found = contents(&after, "a").expect("one or the other");
        assert!(found == b"old" || found == b"new", "{found:?}");
    }
    // A rename of what was not synced is how contents are lost.
    lose(&mut image, Survival::Nothing);
    assert_eq!(contents(&image, "a"), Ok(b"old".to_vec()));
}

#[test]
fn what_survives_by_chance_survives_by_blocks() {
    let (mut image, number) = disk();
    image.write(number, 0, &[1; 16 << 10]).expect("room");
    let mut seen = HashSet::new();
    for seed in 0..200 {
        let mut after = image.clone();
        after.lose_power(Survival::Some, &mut Rng::with_seed(seed));
        let found = contents(&after, "a").expect("the file");
        let blocks: Vec<bool> = found
            .chunks(4096)
            .map(|block| block.iter().all(|byte| *byte == 1))
            .collect();
        seen.insert(blocks);
    }
    assert!(
        seen.contains(&vec![false, true]) && seen.contains(&vec![true; 4]),
        "{seen:?}"
    );
}

#[test]
fn a_full_disk_refuses_and_has_room_again_once_something_is_gone() {
    let (mut image, number) = disk();
    image.resize_disk(100);
    assert_eq!(image.write(number, 0, &[0; 101]), Err(Refusal::Full));
    image.write(number, 0, &[0; 100]).expect("room");
    assert_eq!(image.space(), (100, 0));
    image.remove(ROOT, name("a")).expect("it is there");
    image.sync(ROOT);
    assert_eq!(image.space(), (100, 100));
}

#[test]
fn folders_with_something_in_them_stay() {
    let mut image = Image::new(1 << 20);
    let folder = image
        .create(ROOT, name("d"), 0o755, true)
        .expect("a folder")
        .number;
    image.create(folder, name("a"), 0o600, false).expect("a file");
    assert_eq!(image.remove(ROOT, name("d")), Err(Refusal::NotEmpty));
    assert_eq!(image.create(ROOT, name("d"), 0o755, true), Err(Refusal::Exists));
}
