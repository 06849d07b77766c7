// Sound as a WAV file of 16 bits, filled as the samples come.

const HEADER_BYTES = 44;

export class WavFile {
  constructor(channels, samples, rate) {
    this.channels = channels;
    this.bytes = new ArrayBuffer(HEADER_BYTES + 2 * channels * samples);
    this.view = new DataView(this.bytes);
    this.at = HEADER_BYTES;
    const text = (at, letters) =>
      [...letters].forEach((letter, i) => this.view.setUint8(at + i, letter.charCodeAt(0)));
    text(0, "RIFF");
    this.view.setUint32(4, this.bytes.byteLength - 8, true);
    text(8, "WAVEfmt ");
    this.view.setUint32(16, 16, true);
    this.view.setUint16(20, 1, true);
    this.view.setUint16(22, channels, true);
    this.view.setUint32(24, rate, true);
    this.view.setUint32(28, rate * channels * 2, true);
    this.view.setUint16(32, channels * 2, true);
    this.view.setUint16(34, 16, true);
    text(36, "data");
    this.view.setUint32(40, this.bytes.byteLength - HEADER_BYTES, true);
  }

  /** Append samples, an array for each channel; what is too loud is clipped. */
  append(rows) {
    for (let i = 0; i < rows[0].length; i++) {
      for (const row of rows) {
        const value = Math.round(row[i] * 32768);
        this.view.setInt16(this.at, Math.max(-32768, Math.min(32767, value)), true);
        this.at += 2;
      }
    }
  }
}
