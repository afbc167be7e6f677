"""Every publication the library cites, once."""

from spikeloom.core.paper import Paper

STBP = Paper(
    "wu2018stbp", "Spatio-Temporal Backpropagation for Training High-Performance Spiking Neural Networks",
    "Wu, Yujie and Deng, Lei and Li, Guoqi and Zhu, Jun and Shi, Luping",
    "Frontiers in Neuroscience 12:331", 2018, "https://doi.org/10.3389/fnins.2018.00331",
)
MLF = Paper(
    "feng2022mlf", "Multi-Level Firing with Spiking DS-ResNet: Enabling Better and Deeper Directly-Trained Spiking Neural Networks",
    "Feng, Lang and Liu, Qianhui and Tang, Huajin and Ma, De and Pan, Gang",
    "IJCAI", 2022, "https://arxiv.org/abs/2210.06386",
)
SEW = Paper(
    "fang2021sew", "Deep Residual Learning in Spiking Neural Networks",
    "Fang, Wei and Yu, Zhaofei and Chen, Yanqi and Huang, Tiejun and Masquelier, Timothee and Tian, Yonghong",
    "NeurIPS", 2021, "https://arxiv.org/abs/2102.04159",
)
PLIF = Paper(
    "fang2021plif", "Incorporating Learnable Membrane Time Constant to Enhance Learning of Spiking Neural Networks",
    "Fang, Wei and Yu, Zhaofei and Chen, Yanqi and Masquelier, Timothee and Huang, Tiejun and Tian, Yonghong",
    "ICCV", 2021, "https://arxiv.org/abs/2007.05785",
)
DSPIKE = Paper(
    "li2021dspike", "Differentiable Spike: Rethinking Gradient-Descent for Training Spiking Neural Networks",
    "Li, Yuhang and Guo, Yufei and Zhang, Shanghang and Deng, Shikuang and Hai, Yongqing and Gu, Shi", "NeurIPS", 2021,
)
TDBN = Paper(
    "zheng2021tdbn", "Going Deeper With Directly-Trained Larger Spiking Neural Networks",
    "Zheng, Hanle and Wu, Yujie and Deng, Lei and Hu, Yifan and Li, Guoqi",
    "AAAI", 2021, "https://arxiv.org/abs/2011.05280",
)
TET = Paper(
    "deng2022tet", "Temporal Efficient Training of Spiking Neural Network via Gradient Re-weighting",
    "Deng, Shikuang and Li, Yuhang and Zhang, Shanghang and Gu, Shi", "ICLR", 2022, "https://arxiv.org/abs/2202.11946",
)
CAO = Paper(
    "cao2015tailoring", "Spiking Deep Convolutional Neural Networks for Energy-Efficient Object Recognition",
    "Cao, Yongqiang and Chen, Yang and Khosla, Deepak",
    "International Journal of Computer Vision 113:54-66", 2015, "https://doi.org/10.1007/s11263-014-0788-3",
)
RUECKAUER = Paper(
    "rueckauer2017conversion", "Conversion of Continuous-Valued Deep Networks to Efficient Event-Driven Networks for Image Classification",
    "Rueckauer, Bodo and Lungu, Iulia-Alexandra and Hu, Yuhuang and Pfeiffer, Michael and Liu, Shih-Chii",
    "Frontiers in Neuroscience 11:682", 2017, "https://doi.org/10.3389/fnins.2017.00682",
)
SPIKING_YOLO = Paper(
    "kim2020spikingyolo", "Spiking-YOLO: Spiking Neural Network for Energy-Efficient Object Detection",
    "Kim, Seijoon and Park, Seongsik and Na, Byunggook and Yoon, Sungroh", "AAAI", 2020, "https://arxiv.org/abs/1903.06530",
)
TERMAPPING = Paper(
    "yu2020mapping", "Constructing Accurate and Efficient Deep Spiking Neural Networks with Double-threshold and Augmented Schemes",
    "Yu, Qiang and Ma, Chenxiang and Song, Shiming and Zhang, Gaoyan and Dang, Jianwu and Tan, Kay Chen",
    "arXiv:2005.03231", 2020, "https://arxiv.org/abs/2005.03231",
)
QCFS = Paper(
    "bu2022qcfs", "Optimal ANN-SNN Conversion for High-accuracy and Ultra-low-latency Spiking Neural Networks",
    "Bu, Tong and Fang, Wei and Ding, Jianhao and Dai, PengLin and Yu, Zhaofei and Huang, Tiejun",
    "ICLR", 2022, "https://arxiv.org/abs/2303.04347",
)
SRP = Paper(
    "hao2023srp", "Reducing ANN-SNN Conversion Error through Residual Membrane Potential",
    "Hao, Zecheng and Bu, Tong and Ding, Jianhao and Huang, Tiejun and Yu, Zhaofei",
    "AAAI", 2023, "https://arxiv.org/abs/2302.02091",
)
COS = Paper(
    "hao2023cos", "Bridging the Gap between ANNs and SNNs by Calibrating Offset Spikes",
    "Hao, Zecheng and Ding, Jianhao and Bu, Tong and Huang, Tiejun and Yu, Zhaofei",
    "ICLR", 2023, "https://arxiv.org/abs/2302.10685",
)
OPI = Paper(
    "bu2022opi", "Optimized Potential Initialization for Low-latency Spiking Neural Networks",
    "Bu, Tong and Ding, Jianhao and Yu, Zhaofei and Huang, Tiejun", "AAAI", 2022, "https://arxiv.org/abs/2202.01440",
)
DIEHL = Paper(
    "diehl2015fast", "Fast-Classifying, High-Accuracy Spiking Deep Networks Through Weight and Threshold Balancing",
    "Diehl, Peter U. and Neil, Daniel and Binas, Jonathan and Cook, Matthew and Liu, Shih-Chii and Pfeiffer, Michael",
    "IJCNN", 2015, "https://doi.org/10.1109/IJCNN.2015.7280696",
)
SPIKE_NORM = Paper(
    "sengupta2019going", "Going Deeper in Spiking Neural Networks: VGG and Residual Architectures",
    "Sengupta, Abhronil and Ye, Yuting and Wang, Robert and Liu, Chiao and Roy, Kaushik",
    "Frontiers in Neuroscience 13:95", 2019, "https://doi.org/10.3389/fnins.2019.00095",
)
CALIBRATION = Paper(
    "li2021calibration", "A Free Lunch From ANN: Towards Efficient, Accurate Spiking Neural Networks Calibration",
    "Li, Yuhang and Deng, Shikuang and Dong, Xin and Gong, Ruihao and Gu, Shi", "ICML", 2021, "https://arxiv.org/abs/2106.06984",
)
RELPSP = Paper(
    "zhang2021relpsp", "Rectified Linear Postsynaptic Potential Function for Backpropagation in Deep Spiking Neural Networks",
    "Zhang, Malu and Wang, Jiadong and Wu, Jibin and Belatreche, Ammar and Amornpaiboonkiet, Burin and Zhang, Zhixuan and "
    "Miriyala, Venkata Pavan Kumar and Qu, Hong and Chua, Yansong and Carlson, Trevor E. and Li, Haizhou",
    "IEEE Transactions on Neural Networks and Learning Systems", 2021, "https://arxiv.org/abs/2003.11837",
)
DFT = Paper(
    "wei2023dft", "Temporal-Coded Spiking Neural Networks with Dynamic Firing Threshold: Learning with Event-Driven Backpropagation",
    "Wei, Wenjie and Zhang, Malu and Qu, Hong and Belatreche, Ammar and Zhang, Jian and Chen, Hong", "ICCV", 2023,
)
SPIKEPROP = Paper(
    "bohte2002spikeprop", "Error-backpropagation in temporally encoded networks of spiking neurons",
    "Bohte, Sander M. and Kok, Joost N. and La Poutré, Han", "Neurocomputing 48:17-37", 2002,
    "https://doi.org/10.1016/S0925-2312(01)00658-0",
)
MAASS = Paper(
    "maass1997sigmoidal", "Fast Sigmoidal Networks via Spiking Neurons", "Maass, Wolfgang", "Neural Computation 9(2):279-304",
    1997, "https://doi.org/10.1162/neco.1997.9.2.279",
)
SPIKE_CLUSTERS = Paper(
    "natschlager1998rbf", "Spatial and temporal pattern analysis via spiking neurons", "Natschläger, Thomas and Ruf, Berthold",
    "Network: Computation in Neural Systems 9(3):319-332", 1998, "https://doi.org/10.1088/0954-898X_9_3_003",
)
DIEHL_COOK = Paper(
    "diehl2015unsupervised", "Unsupervised Learning of Digit Recognition Using Spike-Timing-Dependent Plasticity",
    "Diehl, Peter U. and Cook, Matthew", "Frontiers in Computational Neuroscience 9:99", 2015, "https://doi.org/10.3389/fncom.2015.00099",
)
PFISTER_GERSTNER = Paper(
    "pfister2006triplets", "Triplets of Spikes in a Model of Spike Timing-Dependent Plasticity",
    "Pfister, Jean-Pascal and Gerstner, Wulfram",
    "Journal of Neuroscience 26(38):9673-9682", 2006, "https://doi.org/10.1523/JNEUROSCI.1425-06.2006",
)
SONG = Paper(
    "song2000competitive", "Competitive Hebbian Learning through Spike-Timing-Dependent Synaptic Plasticity",
    "Song, Sen and Miller, Kenneth D. and Abbott, L. F.", "Nature Neuroscience 3(9):919-926", 2000, "https://doi.org/10.1038/78829",
)
IZHIKEVICH = Paper(
    "izhikevich2007distal", "Solving the Distal Reward Problem through Linkage of STDP and Dopamine Signaling", "Izhikevich, Eugene M.",
    "Cerebral Cortex 17(10):2443-2452", 2007, "https://doi.org/10.1093/cercor/bhl152",
)
