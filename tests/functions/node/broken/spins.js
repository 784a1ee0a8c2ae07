function forever() {
  for (;;);
}
forever();
