#include "common/framing/frame.h"

#include <string>
#include <vector>

#include "common/random/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Frame Numbered(uint32_t number, std::string payload = "payload") {
  return {.kind = Frame::Kind::kAnswer,
          .conversation = 0x01020304,
          .number = number,
          .payload = std::move(payload)};
}

std::vector<uint32_t> TakeAll(FrameDecoder& decoder) {
  std::vector<uint32_t> numbers;
  while (const std::optional<Frame> frame = decoder.Next()) {
    numbers.push_back(frame->number);
  }
  return numbers;
}

TEST(FrameTest, HasTheBytesThatAreDocumented) {
  const std::string bytes = EncodeFrame(Numbered(5, "123456789"));
  // The check value of CRC-32 for "123456789" is CBF43926.
  EXPECT_EQ(bytes.substr(0, 24), std::string("\xC5"
                                             "CS\x01\x02\0\0\0\x04\x03\x02\x01\x05\0\0\0"
                                             "\x09\0\0\0\x26\x39\xF4\xCB",
                                             24));
  EXPECT_EQ(bytes.substr(28), "123456789");
}

TEST(FrameDecoderTest, FindsFramesHoweverTheyAreCut) {
  const std::string bytes = EncodeFrame(Numbered(1)) + EncodeFrame(Numbered(2, "")) +
                            EncodeFrame(Numbered(3, std::string(64, '\xC5')));
  FrameDecoder decoder(64);
  std::vector<uint32_t> numbers;
  for (const char c : bytes) {
    decoder.Add(absl::string_view(&c, 1));
    for (const uint32_t number : TakeAll(decoder)) {
      numbers.push_back(number);
    }
  }
  EXPECT_THAT(numbers, ElementsAre(1, 2, 3));
  EXPECT_EQ(decoder.garbage_bytes(), 0);
  EXPECT_EQ(decoder.held_bytes(), 0U);
  decoder.Add(bytes);
  EXPECT_EQ(decoder.Next(), Numbered(1));
  EXPECT_THAT(TakeAll(decoder), ElementsAre(2, 3));
}

TEST(FrameDecoderTest, FindsItsWayBackAfterGarbage) {
  FrameDecoder decoder(64);
  decoder.Add(
      "login: \xC5\xC5"
      "CS");
  decoder.Add(EncodeFrame(Numbered(1)));
  EXPECT_THAT(TakeAll(decoder), ElementsAre(1));
  std::string garbled = EncodeFrame(Numbered(2));
  garbled[30] ^= 1;
  decoder.Add(garbled + EncodeFrame(Numbered(3)));
  EXPECT_THAT(TakeAll(decoder), ElementsAre(3));
  garbled = EncodeFrame(Numbered(4));
  garbled[17] ^= 1;  // the length
  decoder.Add(garbled + EncodeFrame(Numbered(5)));
  EXPECT_THAT(TakeAll(decoder), ElementsAre(5)) << "a garbled length must not be waited for";
  EXPECT_GT(decoder.garbage_bytes(), 0);
}

TEST(FrameDecoderTest, AfterAFrameThatWasCutShortAnotherIsFoundSoon) {
  FrameDecoder decoder(64);
  decoder.Add(EncodeFrame(Numbered(1)).substr(0, 32));
  for (uint32_t i = 2; i <= 4; ++i) {
    decoder.Add(EncodeFrame(Numbered(i)));
  }
  EXPECT_THAT(TakeAll(decoder), ElementsAre(3, 4));
}

TEST(FrameDecoderTest, RefusesLongPayloadsAndUnknownKinds) {
  FrameDecoder decoder(8);
  decoder.Add(EncodeFrame(Numbered(1, "123456789")));
  Frame strange = Numbered(2);
  strange.kind = static_cast<Frame::Kind>(3);
  decoder.Add(EncodeFrame(strange));
  EXPECT_THAT(TakeAll(decoder), IsEmpty());
  EXPECT_EQ(decoder.held_bytes(), 0U);
  decoder.Add(EncodeFrame(Numbered(3)));
  EXPECT_THAT(TakeAll(decoder), ElementsAre(3));
}

// Whatever comes between, what is held stays bounded and the last of a few frames gets through.
TEST(FrameDecoderTest, RandomDamageNeverStopsItForGood) {
  Rng rng(7);
  FrameDecoder decoder(64);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = EncodeFrame(Numbered(1));
    for (int64_t i = rng.UniformInt(5); i > 0; --i) {
      bytes[static_cast<size_t>(rng.UniformInt(static_cast<int64_t>(bytes.size())))] =
          static_cast<char>(rng.UniformInt(256));
    }
    decoder.Add(bytes.substr(0, static_cast<size_t>(rng.UniformInt(41))));
    TakeAll(decoder);
    ASSERT_LT(decoder.held_bytes(), 64 + kFrameHeaderBytes);
    decoder.Add(EncodeFrame(Numbered(2)) + EncodeFrame(Numbered(3)) + EncodeFrame(Numbered(4)) +
                EncodeFrame(Numbered(9)));
    const std::vector<uint32_t> numbers = TakeAll(decoder);
    ASSERT_FALSE(numbers.empty());
    ASSERT_EQ(numbers.back(), 9U);
  }
}

}  // namespace
}  // namespace cloudscale
