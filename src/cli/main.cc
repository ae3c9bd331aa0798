// SPDX-License-Identifier: Apache-2.0
// Entry point of the `octavo` program.
int main() { return 0; }
