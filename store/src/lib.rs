//! Where objects live: keys, bytes and revisions behind one trait.
